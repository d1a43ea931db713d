// What SGOOL Pick says in the page, in the page's language. `wrong` goes by what the server says of an answer that it cannot take, see
// comfy_bridge/questions.py.

import { inPagesLanguage } from "./language.js"

export const WORDS = {
  en: {
    go: (count) => (count ? `Continue with ${count}` : "Continue"),
    best: (count) => (count > 1 ? `Keep the best ${count}` : "Keep the best"),
    left: (seconds, picked) => `${seconds} s, then ${picked ? "those clicked" : "the best"}`,
    went: (count, late) => `${late ? "Time is over: went" : "Went"} on with ${count}.`,
    canceled: "Canceled.",
    waits: "The run waits until you pick images in the node.",
    elsewhere: "The run waits until you pick images in a node of another workflow.",
    wrong: {
      closed: "This question is closed: it was answered, its time was over, or its run was canceled.",
      none: "Pick at least one image.",
      range: "There is no image of that number any more: run again.",
      malformed: "The server did not understand the answer: reload the page.",
    },
  },
  ko: {
    go: (count) => (count ? `${count}장으로 계속` : "계속"),
    best: (count) => (count > 1 ? `가장 좋은 ${count}장 유지` : "가장 좋은 것 유지"),
    left: (seconds, picked) => `${seconds}초 뒤 ${picked ? "고른 것" : "가장 좋은 것"}으로 계속`,
    went: (count, late) => `${late ? "시간이 다 되어 " : ""}${count}장으로 계속했습니다.`,
    canceled: "취소했습니다.",
    waits: "실행이 기다리고 있습니다. 노드에서 이미지를 고르세요.",
    elsewhere: "실행이 기다리고 있습니다. 다른 워크플로의 노드에서 이미지를 고르세요.",
    wrong: {
      closed: "이 질문은 끝났습니다. 이미 답했거나, 시간이 다 되었거나, 실행이 취소되었습니다.",
      none: "이미지를 하나 이상 고르세요.",
      range: "그 번호의 이미지가 더는 없습니다. 다시 실행하세요.",
      malformed: "서버가 답을 이해하지 못했습니다. 페이지를 새로 고치세요.",
    },
  },
  ja: {
    go: (count) => (count ? `${count}枚で続ける` : "続ける"),
    best: (count) => (count > 1 ? `最良の${count}枚を残す` : "最良の1枚を残す"),
    left: (seconds, picked) => `あと${seconds}秒で${picked ? "選んだ画像" : "最良の画像"}に進みます`,
    went: (count, late) => `${late ? "時間切れのため、" : ""}${count}枚で続けました。`,
    canceled: "キャンセルしました。",
    waits: "実行は待機中です。ノードで画像を選んでください。",
    elsewhere: "実行は待機中です。別のワークフローのノードで画像を選んでください。",
    wrong: {
      closed: "この質問は終わりました。すでに回答されたか、時間切れか、実行がキャンセルされました。",
      none: "画像を1枚以上選んでください。",
      range: "その番号の画像はもうありません。もう一度実行してください。",
      malformed: "サーバーが回答を理解できませんでした。ページを再読み込みしてください。",
    },
  },
  zh: {
    go: (count) => (count ? `用 ${count} 张继续` : "继续"),
    best: (count) => (count > 1 ? `保留最好的 ${count} 张` : "保留最好的"),
    left: (seconds, picked) => `${seconds} 秒后用${picked ? "选中的" : "最好的"}继续`,
    went: (count, late) => `${late ? "时间到：" : ""}已用 ${count} 张继续。`,
    canceled: "已取消。",
    waits: "运行正在等待：请在节点中选择图像。",
    elsewhere: "运行正在等待：请在另一个工作流的节点中选择图像。",
    wrong: {
      closed: "这个问题已结束：已经回答、时间到了，或运行已取消。",
      none: "请至少选择一张图像。",
      range: "没有这个编号的图像了：请重新运行。",
      malformed: "服务器无法理解这个回答：请刷新页面。",
    },
  },
}

/** The words in the page's language. */
export const words = () => inPagesLanguage(WORDS)
