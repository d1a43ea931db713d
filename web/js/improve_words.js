// What "Improve with SGOOL" says in the page, in the page's language. Nodes are called as the page calls them.

import { inPagesLanguage } from "./language.js"

export const WORDS = {
  en: {
    title: "Improve with SGOOL",
    objective: (loss) => `${loss} says what to improve.`,
    shared: (prompt) => `The prompt is now in the node ${prompt}, for model and objective.`,
    sharedTitle: "Prompt",
    copied: (subgraph, loss) => `The prompt is inside of the subgraph ${subgraph} and was copied to ${loss}: change both.`,
    instruction: (loss) => `The prompt says what to change, but a reward compares images with a description: give ${loss} one in its place.`,
    noPrompt: (loss) => `No prompt was found: write it in ${loss}.`,
    noVae: "No VAE was found: connect the model's.",
    noReward: (load) => `No reward is in models/rewards yet: Run says which file to get, the help of ${load} lists others.`,
    hindrance: {
      noSampler: "connect a sampler first",
      improved: (sampler) => `it has an ${sampler}`,
      someSteps: (ksampler) => `${ksampler} samples all steps, this node some`,
      noImage: (decoder) => `what it makes is no image: ${decoder} decodes it`,
      noNoise: "it adds no noise, which is what is improved",
      firstSteps: "it samples the first steps alone: its image still has noise in it",
    },
  },
  ko: {
    title: "SGOOL로 개선",
    objective: (loss) => `무엇을 개선할지는 ${loss} 노드가 정합니다.`,
    shared: (prompt) => `프롬프트는 이제 ${prompt} 노드에 있고, 모델과 목적 함수가 함께 씁니다.`,
    sharedTitle: "프롬프트",
    copied: (subgraph, loss) => `프롬프트는 서브그래프 ${subgraph} 안에 있어 ${loss} 노드에 복사했습니다. 바꿀 때는 둘 다 바꾸세요.`,
    instruction: (loss) =>
      `프롬프트는 무엇을 바꿀지 말하지만, 보상 모델은 이미지를 설명과 비교합니다. ${loss} 노드에는 그 대신 결과에 대한 설명을 주세요.`,
    noPrompt: (loss) => `프롬프트를 찾지 못했습니다. ${loss} 노드에 쓰세요.`,
    noVae: "VAE를 찾지 못했습니다. 모델의 VAE를 연결하세요.",
    noReward: (load) => `models/rewards에 아직 보상 모델이 없습니다. 실행하면 어떤 파일이 필요한지 알려 주고, 다른 파일은 ${load} 노드의 도움말에 있습니다.`,
    hindrance: {
      noSampler: "먼저 샘플러를 연결하세요",
      improved: (sampler) => `이미 ${sampler} 노드가 있음`,
      someSteps: (ksampler) => `${ksampler} 노드는 모든 단계를, 이 노드는 일부만 샘플링함`,
      noImage: (decoder) => `결과가 이미지가 아님: ${decoder} 노드가 디코딩함`,
      noNoise: "개선할 노이즈를 더하지 않음",
      firstSteps: "앞부분 단계만 샘플링하여 이미지에 노이즈가 남음",
    },
  },
  ja: {
    title: "SGOOLで改善",
    objective: (loss) => `何を改善するかは「${loss}」ノードが決めます。`,
    shared: (prompt) => `プロンプトは「${prompt}」ノードに移り、モデルと目的関数が共有します。`,
    sharedTitle: "プロンプト",
    copied: (subgraph, loss) => `プロンプトはサブグラフ「${subgraph}」の中にあるため、「${loss}」にコピーしました。変更するときは両方を変えてください。`,
    instruction: (loss) =>
      `プロンプトは何を変えるかを述べますが、報酬モデルは画像を説明文と比べます。「${loss}」には代わりに結果の説明文を与えてください。`,
    noPrompt: (loss) => `プロンプトが見つかりません。「${loss}」ノードに書いてください。`,
    noVae: "VAEが見つかりません。モデルのVAEを接続してください。",
    noReward: (load) => `models/rewardsに報酬モデルがまだありません。実行すると必要なファイルが示され、ほかのファイルは「${load}」ノードのヘルプにあります。`,
    hindrance: {
      noSampler: "先にサンプラーを接続してください",
      improved: (sampler) => `「${sampler}」ノードがすでにあります`,
      someSteps: (ksampler) => `「${ksampler}」はすべてのステップを、このノードは一部をサンプリングします`,
      noImage: (decoder) => `結果は画像ではなく、「${decoder}」がデコードします`,
      noNoise: "改善の対象であるノイズを加えません",
      firstSteps: "最初のステップだけをサンプリングし、画像にノイズが残ります",
    },
  },
  zh: {
    title: "用SGOOL改进",
    objective: (loss) => `要改进什么由“${loss}”节点决定。`,
    shared: (prompt) => `提示词现在在“${prompt}”节点中，供模型和目标函数共用。`,
    sharedTitle: "提示词",
    copied: (subgraph, loss) => `提示词在子图“${subgraph}”里，已复制到“${loss}”：修改时请两处都改。`,
    instruction: (loss) => `提示词说的是要改什么，而奖励模型把图像与描述相比：请改为给“${loss}”一段对结果的描述。`,
    noPrompt: (loss) => `没有找到提示词：请写在“${loss}”节点中。`,
    noVae: "没有找到VAE：请连接模型的VAE。",
    noReward: (load) => `models/rewards中还没有奖励模型：运行时会提示需要哪个文件，“${load}”节点的帮助列出了其他文件。`,
    hindrance: {
      noSampler: "请先连接采样器",
      improved: (sampler) => `它已经有“${sampler}”节点`,
      someSteps: (ksampler) => `“${ksampler}”采样所有步，此节点只采样一部分`,
      noImage: (decoder) => `它生成的不是图像，由“${decoder}”解码`,
      noNoise: "它不加噪声，而要改进的正是噪声",
      firstSteps: "它只采样前面的步，图像中仍有噪声",
    },
  },
}

/** The words in the page's language. */
export const words = () => inPagesLanguage(WORDS)
