// What a node of this pack cannot do, in its own sentence. The page says "A node rejected one or more input values" of a graph that is
// refused before it runs, "This node threw an error during execution" of a run, and has the sentences behind a small (i) and in a log.

import { app } from "../../../scripts/app.js"
import { api } from "../../../scripts/api.js"
import { nodeOfRun } from "./graph.js"
import { titleOf } from "./language.js"

const [, , FOLDER] = new URL(import.meta.url).pathname.split("/") // /extensions/FOLDER/js/refusals.js
const OURS = "SGOOL_"
const REFUSED = "custom_validation_failed"

/** The sentence of an error: what the node said, without the name of an input before it. */
function sentence({ details, extra_info: about }) {
  const before = `${about?.input_name} - `
  return details.startsWith(before) ? details.slice(before.length) : details
}

function tell(id, type, detail) {
  app.extensionManager?.toast?.add({ severity: "error", summary: nodeOfRun(id)?.title ?? titleOf(type), detail, life: 20000 })
}

function tellRefused(refused) {
  for (const [id, { class_type: type, errors }] of Object.entries(refused ?? {})) {
    if (!type?.startsWith(OURS)) continue
    for (const said of new Set(errors.filter((error) => error.type === REFUSED).map(sentence))) tell(id, type, said)
  }
}

/** Also where an SGOOL Sampler fails in a sampling node of core's. */
function isOurs({ node_type: type, traceback }) {
  return type.startsWith(OURS) || (traceback ?? []).some((line) => line.replaceAll("\\", "/").includes(`/custom_nodes/${decodeURIComponent(FOLDER)}/`))
}

api.addEventListener("execution_error", ({ detail }) => {
  const name = `${detail.exception_type?.split(".").at(-1)}: `
  const said = detail.exception_message?.trim() ?? ""
  if (isOurs(detail)) tell(detail.node_id, detail.node_type, said.startsWith(name) ? said.slice(name.length) : said)
})

const queuePrompt = api.queuePrompt
if (queuePrompt) {
  api.queuePrompt = async function (...given) {
    try {
      const answer = await queuePrompt.apply(this, given)
      tellRefused(answer?.node_errors) // what else is in the graph may run
      return answer
    } catch (error) {
      tellRefused(error?.response?.node_errors)
      throw error
    }
  }
}
