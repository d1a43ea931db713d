// The page's language, and what nodes are called in it.

import { app } from "../../../scripts/app.js"

/** Of texts by language those in the page's; in English where there are none in it. */
export function inPagesLanguage(texts) {
  const language = app.extensionManager?.setting?.get?.("Comfy.Locale") ?? "en"
  return texts[language.split("-")[0]] ?? texts.en
}

/** What the page calls a type of node: its locale's name for it. */
export const titleOf = (type) => globalThis.LiteGraph.registered_node_types[type]?.title ?? type
