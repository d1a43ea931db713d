// SGOOL Pick: shows the images that the server asks about in the node, as tiles to click, with the time left and two buttons.
// What goes between page and server stands in comfy_bridge/questions.py.

import { app } from "../../../scripts/app.js"
import { api } from "../../../scripts/api.js"
import { nodeOfRun } from "./graph.js"
import { titleOf } from "./language.js"
import { words } from "./pick_words.js"

const WIDGET = "sgool_pick"
const PATH = "/sgool/pick"
const WIDTH = 360
const STYLE = `
.sgool-pick { display: flex; flex-direction: column; gap: 6px; width: 100%; height: 100%; box-sizing: border-box; font: 12px sans-serif; }
.sgool-pick-images { display: grid; gap: 6px; flex: 1; min-height: 0; overflow: auto; }
.sgool-pick-tile { position: relative; margin: 0; padding: 2px; min-height: 0; display: flex; flex-direction: column; cursor: pointer;
  border: 3px solid transparent; border-radius: 6px; background: var(--comfy-input-bg, #222); color: var(--input-text, #ddd); }
.sgool-pick-tile img { flex: 1; min-height: 0; width: 100%; object-fit: contain; }
.sgool-pick-tile[aria-pressed="true"] { border-color: #2f9bff; }
.sgool-pick-tile[aria-pressed="true"]::after { content: "✓"; position: absolute; top: 4px; right: 4px; width: 18px; line-height: 18px;
  border-radius: 9px; background: #2f9bff; color: #fff; text-align: center; }
.sgool-pick-tile:disabled { cursor: default; }
.sgool-pick-closed .sgool-pick-tile[aria-pressed="false"] { opacity: 0.45; }
.sgool-pick-buttons { display: flex; gap: 6px; align-items: center; }
.sgool-pick-buttons button { padding: 4px 10px; border: 1px solid var(--border-color, #555); border-radius: 6px; cursor: pointer;
  background: var(--comfy-input-bg, #222); color: var(--input-text, #ddd); }
.sgool-pick-buttons button:disabled { opacity: 0.45; cursor: default; }
.sgool-pick-said { flex: 1; color: var(--input-text, #ddd); }
`

function made(tag, className, parent, values = {}) {
  const element = Object.assign(document.createElement(tag), { className, ...values })
  parent?.append(element)
  return element
}

const columns = (event) => Math.ceil(Math.sqrt(event.images.length))

/** What square images need in a node of that width, with captions and buttons. */
function height(event) {
  const rows = Math.ceil(event.images.length / columns(event))
  return rows * ((WIDTH - 40) / columns(event) + 24) + 36
}

/** What is asked in one node: draws it, and sends what is clicked. */
class Asked {
  constructor(element, event) {
    this.event = event
    this.picked = new Set(event.numbers ?? [])
    this.until = Date.now() + 1000 * event.seconds
    element.replaceChildren()
    element.classList.remove("sgool-pick-closed")
    this.element = element
    const images = made("div", "sgool-pick-images", element)
    images.style.gridTemplateColumns = `repeat(${columns(event)}, minmax(0, 1fr))`
    this.tiles = event.images.map((file, number) => this.tile(images, file, number))
    const buttons = made("div", "sgool-pick-buttons", element)
    this.go = made("button", "sgool-pick-continue", buttons, { onclick: () => this.send([...this.picked], true) })
    const best = () => this.send(event.best, true)
    this.best = made("button", "sgool-pick-best", buttons, { textContent: words().best(event.best.length), onclick: best })
    this.said = made("span", "sgool-pick-said", buttons)
    this.timer = setInterval(() => this.tick(), 250)
    this.draw()
    this.tick()
  }

  tile(parent, file, number) {
    const tile = made("button", "sgool-pick-tile", parent, { onclick: () => this.click(number) })
    made("img", "", tile, { src: api.apiURL(`/view?${new URLSearchParams(file)}`), draggable: false, alt: this.event.captions[number] })
    made("span", "", tile, { textContent: this.event.captions[number] })
    return tile
  }

  click(number) {
    if (!this.picked.delete(number)) this.picked.add(number)
    this.draw()
    return this.send([...this.picked], false)
  }

  async send(numbers, done) {
    const body = JSON.stringify({ question: this.event.question, numbers, done })
    const answer = await api.fetchApi(PATH, { method: "POST", body, headers: { "Content-Type": "application/json" } })
    const { seconds, error, why } = await answer.json()
    this.wrong = words().wrong[why] ?? error
    if (!error) this.until = Date.now() + 1000 * seconds
    this.tick()
  }

  draw() {
    this.tiles.forEach((tile, number) => tile.setAttribute("aria-pressed", String(this.picked.has(number))))
    this.go.disabled = !this.picked.size
    this.go.textContent = words().go(this.picked.size)
  }

  tick() {
    if (this.closed) return
    const left = Math.max(0, Math.ceil((this.until - Date.now()) / 1000))
    this.said.textContent = this.wrong ?? words().left(left, this.picked.size)
  }

  /** The node goes on with some, or, with null, the run was canceled. */
  close(numbers, why) {
    this.closed = true
    clearInterval(this.timer)
    this.picked = new Set(numbers ?? this.picked)
    if (numbers && !numbers.length) this.picked = new Set(this.event.best)
    this.draw()
    for (const button of [...this.tiles, this.go, this.best]) button.disabled = true
    this.element.classList.add("sgool-pick-closed")
    this.said.textContent = numbers ? words().went(this.picked.size, why === "time over") : words().canceled
  }
}

function addWidget(node) {
  const element = made("div", "sgool-pick")
  // The canvas must not take a click or a turn of the wheel on the tiles for its own.
  for (const kind of ["pointerdown", "wheel"]) element.addEventListener(kind, (event) => event.stopPropagation())
  let widget = null
  widget = node.addDOMWidget(WIDGET, WIDGET, element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => (widget?.asked ? height(widget.asked.event) : 0),
  })
  widget.serialize = false // not part of the workflow: it comes with each run
  return widget
}

function show(event) {
  const node = nodeOfRun(event.node)
  if (typeof node?.addDOMWidget !== "function") return false
  const widget = node.widgets?.find((each) => each.name === WIDGET) ?? addWidget(node)
  if (widget.asked?.event.question === event.question) return true
  clearInterval(widget.asked?.timer)
  widget.asked = new Asked(widget.element, event)
  const least = node.computeSize()
  node.setSize([Math.max(least[0], node.size[0], WIDTH), Math.max(least[1], node.size[1])])
  return true
}

function tell(detail) {
  app.extensionManager?.toast?.add({ severity: "info", summary: titleOf("SGOOL_Pick"), detail, life: 6000 })
}

/** Questions that were asked before this page, or this graph in it, was opened. */
async function showOpen() {
  if (!api.clientId) return
  const answer = await api.fetchApi(`${PATH}?${new URLSearchParams({ client_id: api.clientId })}`)
  if (answer.ok) (await answer.json()).forEach(show)
}

app.registerExtension({
  name: "SGOOL.Pick",
  setup() {
    const style = made("style", "", document.head, { textContent: STYLE })
    style.dataset.sgool = "pick"
    api.addEventListener("sgool.pick", ({ detail }) => {
      tell(show(detail) ? words().waits : words().elsewhere)
    })
    api.addEventListener("sgool.picked", ({ detail }) => {
      const asked = nodeOfRun(detail.node)?.widgets?.find((each) => each.name === WIDGET)?.asked
      if (asked?.event.question === detail.question) asked.close(detail.numbers, detail.why)
    })
    api.addEventListener("reconnected", showOpen)
  },
  afterConfigureGraph: showOpen,
})
