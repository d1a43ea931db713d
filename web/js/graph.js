// Questions about a graph, and the few changes that the extensions of this pack make to one.
//
// An origin is what a link comes from: {node, slot}, or {border}, an input of the subgraph that the link is in.

function originOfLink(graph, link) {
  const node = link && graph.getNodeById(link.origin_id)
  if (node) return { node, slot: link.origin_slot }
  const border = link && graph.inputNode ? graph.inputs[link.origin_slot] : null
  return border ? { border } : null
}

/** What an input's link comes from, or null. */
export function originOf(node, name) {
  const input = node.inputs?.find((each) => each.name === name)
  return input ? originOfLink(node.graph, node.graph.getLink(input.link)) : null
}

/** What an output of a subgraph's node comes from inside, or null. */
export function originInside(host, slot) {
  const output = host.subgraph?.outputs[slot]
  return output ? originOfLink(host.subgraph, host.subgraph.getLink(output.linkIds[0])) : null
}

/** Whether two origins are the same. */
export const same = (one, other) => one?.node === other?.node && one?.slot === other?.slot && one?.border === other?.border

/** What an output's links go to: {node, slot}, or {border}, an output of the subgraph that they are in. */
export function targetsOf(node, slot) {
  return (node.outputs?.[slot]?.links ?? [])
    .map((id) => node.graph.getLink(id))
    .filter(Boolean)
    .map((link) => {
      const target = node.graph.getNodeById(link.target_id)
      return target ? { node: target, slot: link.target_slot } : { border: node.graph.outputNode && node.graph.outputs[link.target_slot] }
    })
    .filter((target) => target.node || target.border)
}

/** The first output of a type in the graph, or what comes into the subgraph of that type, or null. Muted and bypassed nodes do not count. */
export function findOutput(graph, type) {
  for (const node of graph.nodes) {
    const slot = node.mode === 0 ? (node.outputs?.findIndex((output) => output.type === type) ?? -1) : -1
    if (slot >= 0) return { node, slot }
  }
  const border = graph.inputNode && graph.inputs.find((input) => input.type === type)
  return border ? { border } : null
}

/** The nodes of subgraphs that lead to a graph, from the outside in: such a path for each time that it is used. */
export function pathsTo(graph, within = globalThis.app.rootGraph, before = []) {
  return within.nodes
    .filter((node) => node.subgraph)
    .map((host) => [...before, host])
    .flatMap((path) => [...(path.at(-1).subgraph === graph ? [path] : []), ...pathsTo(graph, path.at(-1).subgraph, path)])
}

/** The nodes whose subgraph a graph is. */
export const hostsOf = (graph) => [...new Set(pathsTo(graph).map((path) => path.at(-1)))]

/** Show an input of a node in a subgraph on the subgraph's own nodes as well; returns its name there. */
export function promote(node, name, type) {
  const taken = node.graph.inputs.map((input) => input.name)
  let label = name
  for (let number = 2; taken.includes(label); number++) label = `${name}_${number}`
  connect({ border: node.graph.addInput(label, type) }, node, name)
  return label
}

/** Between a node and a new one below it. */
export const GAP = 60

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

/** Connect an origin to the input of that name. */
export function connect(origin, node, name) {
  const slot = node.inputs.findIndex((input) => input.name === name)
  if (origin.border) origin.border.connect(node.inputs[slot], node)
  else origin.node.connect(origin.slot, node, slot)
}

/** Connect a node's output to a target. */
export function connectTo(target, node, slot) {
  if (target.border) target.border.connect(node.outputs[slot], node)
  else node.connect(slot, target.node, target.slot)
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
  if (widget.value !== value) widget.value = value // the page rounds what is typed: a cfg of 4.98 would become 5
}

/** The nodes that a run's id leads through, from the outside in: of one in subgraphs it has all numbers, as "3:5". Empty where one is missing. */
export function pathOfRun(id) {
  let graph = globalThis.app?.rootGraph ?? globalThis.app?.graph
  const path = []
  for (const part of String(id).split(":")) {
    path.push(graph?.getNodeById(part) ?? null)
    graph = path.at(-1)?.subgraph
  }
  return path.includes(null) ? [] : path
}

/** The node that a run calls by that id, or null. */
export const nodeOfRun = (id) => pathOfRun(id).at(-1) ?? null
