// What a node's latents lead to, through reroutes and switches, into subgraphs and out of them.

import { findOutput, hostsOf, originOf, targetsOf } from "./graph.js"

const ANY = /^(\*|LATENT|COMFY_MATCHTYPE.*)$/ // of outputs that may hand on a latent, of a node that gets one

/** The nodes inside that an input of a subgraph's node goes to. */
function inside(host, slot) {
  const border = host.subgraph.inputs.find((input) => input.name === host.inputs[slot].name)
  const links = (border?.linkIds ?? []).map((id) => host.subgraph.getLink(id)).filter(Boolean)
  return links.flatMap((link) => entered(host.subgraph.getNodeById(link.target_id), link.target_slot))
}

const entered = (node, slot) => (node?.subgraph ? inside(node, slot) : node ? [node] : [])

function reached(node, slot) {
  return targetsOf(node, slot).flatMap((target) => {
    if (!target.border) return entered(target.node, target.slot)
    return hostsOf(node.graph).flatMap((host) => reached(host, node.graph.outputs.indexOf(target.border)))
  })
}

/** The node, and all that its latents come to. */
function handedOn(node) {
  const seen = new Set([node])
  for (const each of seen) {
    each.outputs?.forEach((output, slot) => {
      if (ANY.test(output.type)) reached(each, slot).forEach((target) => seen.add(target))
    })
  }
  return seen
}

/** The nodes that decode the latents that a node makes: those with a VAE which give something else than latents. */
export function decodersOf(node) {
  const decodes = (each) => each.inputs?.some((input) => input.type === "VAE") && !each.outputs?.some((output) => output.type === "LATENT")
  return [...handedOn(node)].filter((each) => each !== node && decodes(each))
}

export const makesImages = (decoder) => decoder.outputs.some((output) => output.type === "IMAGE")

/** The VAE that decodes what the node makes; else one that its latents come to; else any VAE of the graph; else null. */
export function findVae(node) {
  const decoder = decodersOf(node).find((each) => each.graph === node.graph && makesImages(each) && originOf(each, "vae"))
  if (decoder) return originOf(decoder, "vae")
  const behind = [...handedOn(node)].find((each) => each !== node && each.graph === node.graph && originOf(each, "vae"))
  return behind ? originOf(behind, "vae") : findOutput(node.graph, "VAE")
}
