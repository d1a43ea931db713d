// "Improve with SGOOL" in the menu of sampling nodes: KSampler becomes SGOOL KSampler, other sampling nodes get an SGOOL Sampler before
// their sampler; VAE, prompt and reward are taken from the graph.

import { app } from "../../../scripts/app.js"
import { decodersOf, findVae, makesImages } from "./downstream.js"
import { GAP, addNode, connect, connectTo, findOutput, hostsOf, makeRoom, originOf, promote, setValue, targetsOf, valueOf } from "./graph.js"
import { words } from "./improve_words.js"
import { titleOf } from "./language.js"
import { givePrompt } from "./prompt.js"

const REPLACED = ["KSampler", "KSamplerAdvanced"]
const WRAPPED = ["SamplerCustom", "SamplerCustomAdvanced"]
const RENAMED = { noise_seed: "seed" }
const SPLIT = ["SplitSigmas", "SplitSigmasDenoise"] // their first output: the steps up to one at which there is noise left

/** Why the node cannot be improved, or an empty text. */
function hindrance(node) {
  const said = words().hindrance
  const decoders = decodersOf(node)
  if (decoders.length && !decoders.some(makesImages)) return said.noImage(decoders[0].title)
  if (WRAPPED.includes(node.type)) return hindranceOfWrapped(node)
  return node.type !== "KSamplerAdvanced" || samplesAll(node) ? "" : said.someSteps(titleOf("SGOOL_KSampler"))
}

function hindranceOfWrapped(node) {
  const said = words().hindrance
  const sampler = originOf(node, "sampler")
  if (!sampler) return said.noSampler
  if (sampler.node?.type === "SGOOL_Sampler") return said.improved(titleOf("SGOOL_Sampler"))
  if (originOf(node, "noise")?.node?.type === "DisableNoise" || valueOf(node, "add_noise") === false) return said.noNoise
  const sigmas = originOf(node, "sigmas")
  return SPLIT.includes(sigmas?.node?.type) && sigmas.slot === 0 ? said.firstSteps : ""
}

/** Whether a KSamplerAdvanced samples all steps. Where one of these comes by a link, that is not known. */
function samplesAll(node) {
  const names = ["add_noise", "start_at_step", "end_at_step", "return_with_leftover_noise"]
  return (
    !names.some((name) => originOf(node, name)) &&
    valueOf(node, "add_noise") === "enable" &&
    valueOf(node, "start_at_step") === 0 &&
    valueOf(node, "end_at_step") >= valueOf(node, "steps") &&
    valueOf(node, "return_with_leftover_noise") === "disable"
  )
}

/** An SGOOL KSampler in the place of the node, with its links and values. */
function replaced(old) {
  const node = globalThis.LiteGraph.createNode("SGOOL_KSampler")
  old.graph.add(node)
  node.pos = [...old.pos]
  node.setSize([Math.max(old.size[0], node.size[0]), node.size[1]])
  node.mode = old.mode
  for (const look of ["color", "bgcolor"]) if (old[look]) node[look] = old[look]
  for (const widget of old.widgets ?? []) setValue(node, RENAMED[widget.name] ?? widget.name, widget.value)
  for (const input of old.inputs) {
    const name = RENAMED[input.name] ?? input.name
    const origin = originOf(old, input.name)
    if (origin && node.inputs.some((each) => each.name === name)) connect(origin, node, name)
  }
  for (const target of targetsOf(old, 0)) connectTo(target, node, 0)
  old.graph.remove(old)
  makeRoom(node)
  return node
}

/** An SGOOL Sampler between the node and its sampler. */
function wrapped(sampling) {
  const inner = originOf(sampling, "sampler")
  const beside = inner.node ?? sampling // the sampler may come from outside of the subgraph
  const node = addNode(sampling.graph, "SGOOL_Sampler", [beside.pos[0], beside.pos[1] + beside.size[1] + GAP])
  connect(inner, node, "sampler")
  connect({ node, slot: 0 }, sampling, "sampler")
  return node
}

/** Where a subgraph's latents are decoded outside of it: show its node's input for a VAE on the subgraph's nodes, and connect it there. */
function connectVaeOutside(node) {
  const hosts = hostsOf(node.graph).map((host) => [host, findVae(host)])
  if (!hosts.length || !hosts.every(([, vae]) => vae)) return false
  const name = promote(node, "vae", "VAE")
  for (const [host, vae] of hosts) connect(vae, host, name)
  return true
}

function improve(sampling) {
  const graph = sampling.graph
  const vae = findVae(sampling)
  const node = REPLACED.includes(sampling.type) ? replaced(sampling) : wrapped(sampling)
  const [x, y] = node.pos
  const objective = addNode(graph, "SGOOL_SaliencyCLIPLoss", [x, y + node.size[1] + GAP])
  const reward = findOutput(graph, "SGOOL_REWARD")
  if (reward) connect(reward, objective, "reward")
  connect({ node: objective, slot: 0 }, node, "objective")
  if (vae) connect(vae, node, "vae")
  const said = [words().objective(objective.title), givePrompt(node.type === "SGOOL_Sampler" ? sampling : node, objective)]
  if (!vae && !connectVaeOutside(node)) said.push(words().noVae)
  const nowhere = valueOf(reward?.node ?? objective, "reward_name") === "none"
  if (nowhere) said.push(words().noReward(titleOf("SGOOL_LoadReward")))
  return said.filter(Boolean).join(" ")
}

/** Run a change of the graph as one step for undo. */
function asOneStep(change) {
  app.canvas.emitBeforeChange?.()
  try {
    return change()
  } finally {
    app.canvas.emitAfterChange?.()
    app.canvas.setDirty(true, true)
  }
}

app.registerExtension({
  name: "SGOOL.Improve",
  getNodeMenuItems(node) {
    if (![...REPLACED, ...WRAPPED].includes(node?.type)) return []
    const { title } = words()
    const reason = hindrance(node)
    return [
      {
        content: reason ? `${title} (${reason})` : title,
        disabled: Boolean(reason),
        callback: () => {
          const detail = asOneStep(() => improve(node))
          app.extensionManager?.toast?.add({ severity: "info", summary: title, detail, life: 10000 })
        },
      },
    ]
  },
})
