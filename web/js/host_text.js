// What a node inside of a closed subgraph says while it runs, above the subgraph's own node. The page has a bar there, but shows
// text in a node that is in sight alone, and a subgraph's node has no widgets but those of its inputs to put it into.

import { app } from "../../../scripts/app.js"
import { api } from "../../../scripts/api.js"
import { pathOfRun } from "./graph.js"

const OURS = /^(SGOOL_.*|SamplerCustom(Advanced)?)$/ // the latter say nothing by themselves, but an SGOOL Sampler speaks in them
const ELEMENT = "sgool-host-text"
const STYLE = `position: absolute; bottom: calc(100% + 4px); left: 0; padding: 2px 6px; border-radius: 5px; white-space: pre;
  pointer-events: none; color: var(--input-text); background: var(--comfy-input-bg)`
const badges = new Map() // of the subgraphs' nodes

/** In the design that draws nodes on the canvas: a badge, which is one line. */
function showBadge(host, text) {
  if (!badges.has(host)) {
    badges.set(host, new globalThis.LGraphBadge({}))
    host.badges.push(badges.get(host))
  }
  badges.get(host).text = text.replaceAll("\n", ", ")
  app.canvas.setDirty(true, true)
}

/** In Nodes 2.0, which shows no badges that come later: an element. */
function showElement(host, text) {
  const node = host.graph === app.canvas.graph && document.querySelector(`.lg-node[data-node-id="${host.id}"]`)
  if (!node) return
  const element = node.querySelector(`:scope > .${ELEMENT}`) ?? node.appendChild(document.createElement("div"))
  element.className = ELEMENT
  element.style.cssText = STYLE
  element.textContent = text
}

function clear() {
  for (const [host, badge] of badges) host.badges = host.badges.filter((each) => each !== badge)
  badges.clear()
  document.querySelectorAll(`.${ELEMENT}`).forEach((element) => element.remove())
  app.canvas.setDirty(true, true)
}

api.addEventListener("progress_text", ({ detail }) => {
  const path = pathOfRun(detail.nodeId)
  if (!OURS.test(path.at(-1)?.type)) return
  for (const host of path.slice(0, -1)) {
    if (globalThis.LGraphBadge) showBadge(host, detail.text)
    showElement(host, detail.text)
  }
})
for (const kind of ["execution_start", "execution_error", "execution_interrupted"]) api.addEventListener(kind, clear)
