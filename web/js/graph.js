// Questions about a graph, and the few changes that the extensions of this pack make to one.

/** The node and slot that an input's link comes from, or null. */
export function originOf(node, name) {
  const slot = node.inputs?.findIndex((input) => input.name === name) ?? -1
  const link = slot < 0 ? null : node.graph.getLink(node.inputs[slot].link)
  const from = link && node.graph.getNodeById(link.origin_id)
  return from ? { node: from, slot: link.origin_slot } : null
}

/** The nodes and slots that an output's links go to. */
export function targetsOf(node, slot) {
  return (node.outputs?.[slot]?.links ?? [])
    .map((id) => node.graph.getLink(id))
    .filter(Boolean)
    .map((link) => ({ node: node.graph.getNodeById(link.target_id), slot: link.target_slot }))
    .filter((target) => target.node)
}

/** Whether all of a node's links end at nodes: inside of a subgraph some may end at its border. */
export function linksEndAtNodes(node) {
  const links = [...(node.inputs ?? []).map((input) => input.link), ...(node.outputs ?? []).flatMap((output) => output.links ?? [])]
  return links
    .filter((id) => id !== null && id !== undefined)
    .map((id) => node.graph.getLink(id))
    .every((link) => link && node.graph.getNodeById(link.origin_id) && node.graph.getNodeById(link.target_id))
}

/** The VAE that decodes what the node makes; else any VAE of the graph; else null. */
export function findVae(node) {
  const seen = new Set([node])
  for (const each of seen) {
    const vae = each !== node && originOf(each, "vae")
    if (vae) return vae
    each.outputs?.forEach((output, slot) => {
      if (output.type === "LATENT") targetsOf(each, slot).forEach((target) => seen.add(target.node))
    })
  }
  return findOutput(node.graph, "VAE")
}

/** The first output of a type in the graph, or null. Muted and bypassed nodes do not count. */
export function findOutput(graph, type) {
  for (const node of graph.nodes) {
    const slot = node.mode === 0 ? (node.outputs?.findIndex((output) => output.type === type) ?? -1) : -1
    if (slot >= 0) return { node, slot }
  }
  return null
}

const TEXTS = ["text", "prompt", "t5xxl", "text_g", "clip_l", "text_l"]
const TOWARDS_PROMPT = ["CONDITIONING", "GUIDER"]

/** The node whose text becomes the node's positive conditioning, and the name of that text: {node, name}, or null. */
export function findPrompt(node) {
  const seen = new Set([node])
  for (const each of seen) {
    const name = each !== node && TEXTS.find((text) => each.widgets?.some((widget) => widget.name === text))
    if (name) return { node: each, name }
    for (const input of each.inputs ?? []) {
      const from = TOWARDS_PROMPT.includes(input.type) && input.name !== "negative" ? originOf(each, input.name) : null
      if (from) seen.add(from.node)
    }
  }
  return null
}

const ROOM = () => globalThis.LiteGraph.NODE_TITLE_HEIGHT ?? 30

/** Whether two nodes, their titles included, cover each other. */
function covers(one, other) {
  const room = ROOM()
  return (
    one !== other &&
    one.pos[0] < other.pos[0] + other.size[0] &&
    other.pos[0] < one.pos[0] + one.size[0] &&
    one.pos[1] - room < other.pos[1] + other.size[1] &&
    other.pos[1] - room < one.pos[1] + one.size[1]
  )
}

const below = (node) => node.pos[1] + node.size[1] + 2 * ROOM()

/** Move what a node has grown over to below it, and so on. */
export function makeRoom(node) {
  for (const other of node.graph.nodes.filter((each) => covers(node, each) && each.pos[1] >= node.pos[1])) {
    other.pos = [other.pos[0], below(node)]
    makeRoom(other)
  }
}

/** Add a node of a type at a point, or below it, where it covers none of the others. */
export function addNode(graph, type, [x, y]) {
  const node = globalThis.LiteGraph.createNode(type)
  graph.add(node)
  node.pos = [x, y]
  for (let other; (other = graph.nodes.find((each) => covers(node, each))); ) node.pos = [x, below(other)]
  return node
}

/** Connect an origin ({node, slot}) to the input of that name. */
export function connect(origin, node, name) {
  origin.node.connect(origin.slot, node, node.inputs.findIndex((input) => input.name === name))
}

/** The value of a widget, and setting it. */
export function valueOf(node, name) {
  return node.widgets?.find((widget) => widget.name === name)?.value
}
export function setValue(node, name, value) {
  const widget = node.widgets?.find((each) => each.name === name)
  if (!widget) return
  widget.value = value
  widget.callback?.(value)
}

/** The node that a run calls by that id: of one in subgraphs these are all numbers from the outside in, as "3:5"; null where there is none. */
export function nodeOfRun(id) {
  let graph = globalThis.app?.rootGraph ?? globalThis.app?.graph
  let node = null
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById(part) ?? null
    graph = node?.subgraph
  }
  return node
}
