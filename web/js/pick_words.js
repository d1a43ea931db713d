// What SGOOL Pick says in the page, in the page's language.

import { app } from "../../../scripts/app.js"

const WORDS = {
  en: {
    go: (count) => (count ? `Continue with ${count}` : "Continue"),
    best: (count) => (count > 1 ? `Keep the best ${count}` : "Keep the best"),
    left: (seconds, picked) => `${seconds} s, then ${picked ? "those clicked" : "the best"}`,
    went: (count, late) => `${late ? "Time is over: went" : "Went"} on with ${count}.`,
    canceled: "Canceled.",
    waits: "The run waits until you pick images in the node.",
    elsewhere: "The run waits until you pick images in a node of another workflow.",
  },
  ko: {
    go: (count) => (count ? `${count}장으로 계속` : "계속"),
    best: (count) => (count > 1 ? `가장 좋은 ${count}장 유지` : "가장 좋은 것 유지"),
    left: (seconds, picked) => `${seconds}초 뒤 ${picked ? "고른 것" : "가장 좋은 것"}으로 계속`,
    went: (count, late) => `${late ? "시간이 다 되어 " : ""}${count}장으로 계속했습니다.`,
    canceled: "취소했습니다.",
    waits: "실행이 기다리고 있습니다. 노드에서 이미지를 고르세요.",
    elsewhere: "실행이 기다리고 있습니다. 다른 워크플로의 노드에서 이미지를 고르세요.",
  },
  ja: {
    go: (count) => (count ? `${count}枚で続ける` : "続ける"),
    best: (count) => (count > 1 ? `最良の${count}枚を残す` : "最良の1枚を残す"),
    left: (seconds, picked) => `あと${seconds}秒で${picked ? "選んだ画像" : "最良の画像"}に進みます`,
    went: (count, late) => `${late ? "時間切れのため、" : ""}${count}枚で続けました。`,
    canceled: "キャンセルしました。",
    waits: "実行は待機中です。ノードで画像を選んでください。",
    elsewhere: "実行は待機中です。別のワークフローのノードで画像を選んでください。",
  },
  zh: {
    go: (count) => (count ? `用 ${count} 张继续` : "继续"),
    best: (count) => (count > 1 ? `保留最好的 ${count} 张` : "保留最好的"),
    left: (seconds, picked) => `${seconds} 秒后用${picked ? "选中的" : "最好的"}继续`,
    went: (count, late) => `${late ? "时间到：" : ""}已用 ${count} 张继续。`,
    canceled: "已取消。",
    waits: "运行正在等待：请在节点中选择图像。",
    elsewhere: "运行正在等待：请在另一个工作流的节点中选择图像。",
  },
}

/** The words in the page's language; in English where it has none of these. */
export function words() {
  const language = app.extensionManager?.setting?.get?.("Comfy.Locale") ?? "en"
  return WORDS[language.split("-")[0]] ?? WORDS.en
}
