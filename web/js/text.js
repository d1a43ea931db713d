// Draws the text that a node of this pack reports ("ui": {"text": ...}) in the node, in both of the page's node designs.

import { app } from "../../../scripts/app.js"

const WIDGET = "sgool_text"
const OURS = "SGOOL_"
const HEIGHT = 110
const TABLE = /\S {2,}\S/ // columns lined up with spaces would be torn by wrapping

function addText(node) {
  const element = document.createElement("textarea")
  element.readOnly = true
  element.spellcheck = false
  element.className = "comfy-multiline-input"
  element.style.cssText = "font-family: monospace; overflow: auto; resize: none; width: 100%"
  const widget = node.addDOMWidget(WIDGET, WIDGET, element, {
    serialize: false,
    hideOnZoom: true,
    getMinHeight: () => HEIGHT,
    getValue: () => element.value,
    setValue: (value) => (element.value = value ?? ""),
  })
  widget.serialize = false // not part of the workflow: it comes with each run
  const [width, height] = node.computeSize()
  node.setSize([Math.max(width, node.size[0]), Math.max(height, node.size[1])])
  return widget
}

function show(node, output) {
  const lines = output?.text
  if (!lines || typeof node?.addDOMWidget !== "function") return
  const widget = node.widgets?.find((each) => each.name === WIDGET) ?? addText(node)
  widget.value = Array.isArray(lines) ? lines.join("\n") : String(lines)
  widget.element.style.whiteSpace = TABLE.test(widget.value) ? "pre" : "pre-wrap"
}

/** The node that outputs are of: by its number, in a subgraph after the subgraph's own id. */
function nodeOfOutput(id) {
  const [subgraph, inside] = String(id).split(":")
  if (inside) return app.rootGraph?.subgraphs?.get(subgraph)?.getNodeById(inside)
  return app.rootGraph?.getNodeById?.(id) ?? app.graph?.getNodeById?.(id)
}

app.registerExtension({
  name: "SGOOL.Text",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith(OURS)) return
    const before = nodeType.prototype.onExecuted
    nodeType.prototype.onExecuted = function (output) {
      before?.call(this, output)
      show(this, output)
    }
  },
  // Outputs that come back with a workflow from the queue's history.
  onNodeOutputsUpdated(outputs) {
    for (const [id, output] of Object.entries(outputs ?? {})) {
      const node = nodeOfOutput(id)
      if (node?.comfyClass?.startsWith(OURS)) show(node, output)
    }
  },
})
