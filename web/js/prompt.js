// The prompt of a sampling node, and what gives it to an objective: the text that becomes its positive conditioning.

import { GAP, addNode, connect, originInside, originOf, pathsTo, promote, same, setValue, valueOf } from "./graph.js"
import { words } from "./improve_words.js"

const TEXTS = ["text", "prompt", "user_prompt", "t5xxl", "text_g", "mt5xl", "qwen25_7b", "clip_l", "text_l", "bert"]
const TOWARDS_PROMPT = /^(CONDITIONING|GUIDER|\*|COMFY_MATCHTYPE.*)$/ // the last two are of reroutes and switches
const [ON, MUTED, BYPASSED] = [0, 2, 4]
const EDITS = /Edit|ReferenceLatent|InstructPixToPix|Kontext/ // nodes on the way of a prompt that is an instruction

/** Whether what comes into an input may be made of the prompt. */
function leadsToPrompt(node, input) {
  if (input.name === "negative" || !TOWARDS_PROMPT.test(input.type)) return false
  return !(input.name.startsWith("on_") && input.name === `on_${!isOn(node)}`) // of a switch the side that is not chosen
}

/** Whether a switch is on: by its own widget, or by that of what is connected to it. */
function isOn(node) {
  const origin = originOf(node, "switch")
  return Boolean(origin?.node ? origin.node.widgets?.[0]?.value : valueOf(node, "switch"))
}

/** An origin that is a node, into subgraphs and out of them again, with the nodes of those that it is in. */
function throughSubgraphs(from, hosts) {
  while (from?.node?.subgraph || (from?.border && hosts.length)) {
    if (from.border) {
      from = originOf(hosts.at(-1), from.border.name)
      hosts = hosts.slice(0, -1)
    } else {
      hosts = [...hosts, from.node]
      from = originInside(from.node, from.slot)
    }
  }
  return { from, hosts }
}

/** The node whose text becomes the node's positive conditioning, the name of that text, and the nodes of the subgraphs that it is in, from
 * the outside in: {node, name, hosts, edits}, or null; edits: whether the text says what to change, as models that edit images take it.
 * @param path The nodes of the subgraphs that the node itself is in.
 */
function findPrompt(node, path) {
  const seen = new Map([[node, path]])
  for (const [each, around] of seen) {
    if (each.mode === MUTED) continue
    const origins = (each.inputs ?? []).filter((input) => leadsToPrompt(each, input)).map((input) => throughSubgraphs(originOf(each, input.name), around))
    const found = origins.filter(({ from }) => from?.node)
    const name = TEXTS.find((text) => each.widgets?.some((widget) => widget.name === text))
    if (name && each !== node && each.mode !== BYPASSED && !found.length) {
      const edits = [...seen.keys()].some(({ type, mode }) => mode === ON && EDITS.test(type))
      return { node: each, name, hosts: around, edits }
    }
    for (const { from, hosts } of found) if (!seen.has(from.node)) seen.set(from.node, hosts)
  }
  return null
}

/** The text that becomes a prompt, seen from the graph around its subgraphs: what gives it, {origin}, or the widget that it stands in,
 * {node, name}; null where it is inside alone. */
function promptOutside({ node, name, hosts }) {
  const origin = originOf(node, name)
  const host = hosts.at(-1)
  if (!host) return origin ? { origin } : { node, name }
  const outer = hosts.slice(0, -1)
  if (origin?.border) return promptOutside({ node: host, name: origin.border.name, hosts: outer })
  const slot = origin ? host.outputs.findIndex((_, number) => same(originInside(host, number), origin)) : -1
  if (slot >= 0 && !outer.length) return { origin: { node: host, slot } }
  const shown = origin?.node.inputs?.find((input) => input.widget && originOf(origin.node, input.name)?.border)
  return shown ? promptOutside({ node: origin.node, name: shown.name, hosts }) : null
}

/** The text itself, where it is written in a node. */
function textOf({ node, name }) {
  const origin = originOf(node, name)
  const widgets = origin?.node?.widgets ?? []
  return origin ? widgets.find((widget) => typeof widget.value === "string")?.value : valueOf(node, name)
}

/** The text inside of a subgraph, of which nothing comes out, is copied: a link does not reach it. */
function copyPrompt(found, target, name) {
  const text = textOf(found)
  if (typeof text !== "string") return words().noPrompt(target.title)
  setValue(target, name, text)
  return words().copied(found.hosts.at(0).title, target.title)
}

/** Give an input of a node of the same graph the text that was found, by a link; returns what the user should know. */
function linkPrompt(found, target, input) {
  const outside = promptOutside(found)
  if (!outside) return copyPrompt(found, target, input)
  if (outside.origin) {
    connect(outside.origin, target, input)
    return ""
  }
  const { node, name } = outside
  const [x, y] = node.pos
  const text = valueOf(node, name)
  const shared = addNode(node.graph, "PrimitiveStringMultiline", [x, y + node.size[1] + GAP])
  setValue(shared, "value", text)
  shared.title = words().sharedTitle
  if (node.inputs.some((each) => each.name === name)) connect({ node: shared, slot: 0 }, node, name)
  connect({ node: shared, slot: 0 }, target, input)
  return words().shared(shared.title)
}

const isWithin = (found, path) => path.every((host, depth) => found.hosts[depth] === host)

/** Give the objective the text that the model gets; returns what the user should know.
 *
 * Where that text is outside of the subgraph, the objective's prompt is shown on the subgraph's nodes, and each of them gets its own.
 */
export function givePrompt(sampling, objective) {
  const names = new Map() // of each subgraph, of the prompt on its nodes
  const said = new Set()
  const [first, ...others] = pathsTo(sampling.graph)
  for (const path of [first ?? [], ...others]) {
    const found = findPrompt(sampling, path)
    if (!found) return words().noPrompt(objective.title)
    let [target, name, depth] = [objective, "prompt", path.length]
    for (; !isWithin(found, path.slice(0, depth)); depth--) {
      if (!names.has(target.graph)) names.set(target.graph, promote(target, name, "STRING"))
      name = names.get(target.graph)
      target = path[depth - 1]
    }
    said.add(linkPrompt({ ...found, hosts: found.hosts.slice(depth) }, target, name))
    if (found.edits) said.add(words().instruction(objective.title))
    if (target === objective) break // for all subgraphs' nodes alike
  }
  return [...said].join(" ")
}
