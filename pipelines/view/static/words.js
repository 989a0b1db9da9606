// The page in two languages. English stands where it is shown; here is the Chinese for it.

const CHINESE = {
  // header
  "Language": "语言",
  "Waiting for the first picture": "等待第一张图像",
  "Running": "运行中",
  "Ended – results stay here": "已结束，结果保留在本页",
  "Connection lost": "连接已断开",
  "Frozen – inspection goes on": "画面已冻结，检测继续进行",
  // picture
  "Live picture": "实时画面",
  "Newest inspected picture with the masks found in it": "最新检测的图像，叠加检出的掩码",
  "No picture yet": "暂无图像",
  "What is drawn": "显示内容",
  "Masks": "掩码",
  "Boxes": "检测框",
  "Labels": "标签",
  "Freeze": "冻结画面",
  "Holds this picture; the inspection goes on": "只停住画面，检测继续进行",
  "Picture {number}": "第 {number} 张",
  ", {count} not shown here": "，{count} 张未在此显示",
  // counters
  "Counters and latency": "计数与延迟",
  "Inspected": "已检测",
  "Pictures with a result": "已得出结果的图像数",
  "Entered": "已接收",
  "Pictures that the source gave": "图像源送来的图像数",
  "Dropped": "已丢弃",
  "Pictures that a full queue gave up": "因队列已满而舍弃的图像数",
  "Never inspected": "未经检测",
  "Parts that passed without being looked at": "未经检测就流过的工件数",
  "Failed": "检测失败",
  "Pictures that could not be read or inspected": "无法读取或无法检测的图像数",
  "Frames/s": "帧/秒",
  "Results per second, just now": "当前每秒得出的结果数",
  "Latency p50": "延迟 P50",
  "From capture to result: half of the last 600 pictures took no longer":
    "从采集到出结果的时间：最近 600 张中，有一半不超过此值",
  "Latency p99": "延迟 P99",
  "From capture to result: 99 of 100 of the last 600 pictures took no longer":
    "从采集到出结果的时间：最近 600 张中，有 99% 不超过此值",
  // results
  "In this picture": "本图结果",
  "Nothing found": "未检出目标",
  "Table of results": "结果表",
  "Class": "类别",
  "Score": "置信度",
  "Box": "检测框",
  "x, y, w × h": "x, y, 宽 × 高",
  "Area": "面积",
  "px": "像素",
  "Download Excel": "下载 Excel",
  // settings
  "Settings": "设置",
  "Confidence": "置信度阈值",
  "Lower finds more and doubts more": "调低后检出更多，误检也会增多",
  "Overlap (IoU)": "重叠阈值（IoU）",
  "Objects of one class that overlap more are merged": "同类目标的重叠超过此值时，合并为一个",
  "Model bundle": "模型包",
  "The server cannot be reached; the setting was not changed.": "无法连接服务器，设置未更改。",
  // the page of a station
  "Starting": "正在启动",
  "Ended": "已结束",
  "for {time}": "已运行 {time}",
  "{count} of {total} cameras silent": "{total} 台相机中有 {count} 台无图像",
  "Cameras": "相机",
  "All cameras": "全部相机",
  "Camera": "相机",
  "Not started": "未启动",
  "Connecting": "正在连接",
  "Stalled": "已停滞",
  "Waits to try again": "等待重试",
  "{count} s": "{count} 秒",
  "{count} min": "{count} 分钟",
  "{count} h": "{count} 小时",
  "Last picture": "最后一张图像",
  "No picture for {time}": "已 {time} 无图像",
  "{rate} frames/s": "{rate} 帧/秒",
  "{age} s old": "{age} 秒前",
  "{count} not inspected": "{count} 件未检测",
  "What became of every part": "每个工件的去向",
  "Pictures that the source gave, and parts known to have passed without one":
    "图像源送来的图像数，以及已知没有图像就流过的工件数",
  "Pictures with a result in time": "按时得出结果的图像数",
  "Late": "超时",
  "Pictures with a result after their deadline": "超过时限才得出结果的图像数",
  "Incomplete": "不完整",
  "Pictures that arrived damaged; nobody looked at them": "到达时已损坏、未经检测的图像数",
  "In flight": "处理中",
  "Pictures between source and decision": "已从图像源送出、尚未得出结果的图像数",
  "before {queues}": "队列：{queues}",
  "Takt": "节拍",
  "Deadline": "时限",
  "Time from the trigger to the decision": "从触发到得出结果的时间",
  "Missed": "未按时",
  "Parts without a decision in time: late, dropped, incomplete, never inspected or failed":
    "没有按时得出结果的工件数：超时、丢弃、不完整、未经检测或检测失败",
  "Late by p50": "超时 P50",
  "Of the last 600 pictures, how much too late the late ones were: half of them no more":
    "最近 600 张中超时的图像，有一半超出时限不多于此值",
  "Late by p99": "超时 P99",
  "Of the last 600 pictures, how much too late the late ones were: 99 of 100 no more":
    "最近 600 张中超时的图像，有 99% 超出时限不多于此值",
  "What became of the results": "结果的去向",
  "Written to": "写入",
  "Written": "已写入",
  "Waiting": "等待中",
  "Results in the queue of the sink, or in its hands": "在写入队列中或正在写入的结果数",
  "Results that the sink's full queue gave up": "因写入队列已满而舍弃的结果数",
  "Not written": "写入失败",
  "Results that could not be written": "无法写入的结果数",
  "Events": "事件",
  "since": "自",
  "Events, the newest first": "事件，最新的在前",
  "There is no bundle with that id; load the page again to see those there are.": "没有这个模型包；请刷新页面，查看现有的模型包。",
};

// What the program says around a name or a number. Its error messages are not here: they stay English.
const SENTENCES = [
  [/^(\d+) pictures$/, "$1 张图像"],
  [/^(\d+) sources$/, "$1 个图像源"],
  [/^camera (\d+)$/, "相机 $1"],
  [/^(.+) runs now\.$/, "已切换到 $1。"],
  [/^(.+) is still being loaded; choose again when it is done\.$/, "$1 仍在加载，请在完成后重新选择。"],
];

const KEY = "lineside-language";
const YEAR = 365 * 24 * 3600; // seconds
const ENGLISH = "en";
const MANDARIN = "zh-CN";

/** "en" or "zh-CN": what was chosen here before, else the first of the browser's languages that the page speaks. */
export let language = remembered() || preferred();

function preferred() {
  const known = navigator.languages.find((name) => /^(en|zh)\b/i.test(name));
  return known?.toLowerCase().startsWith("zh") ? MANDARIN : ENGLISH;
}

// The page's port changes from run to run. Storage is kept for one port only, a cookie for all ports of this machine.
function remembered() {
  const cookie = document.cookie.match(new RegExp(`(?:^|; )${KEY}=([^;]+)`))?.[1];
  return [cookie, stored()].find((name) => name === ENGLISH || name === MANDARIN);
}

function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // the browser is set to keep nothing
  }
}

function remember() {
  document.cookie = `${KEY}=${language}; max-age=${YEAR}; path=/; samesite=strict`;
  try {
    localStorage.setItem(KEY, language);
  } catch {
    // the choice then lasts until the page is closed
  }
}

/** The English text in the page's language, with the values put in; text without a translation stays as it is. */
export function say(english, values = {}) {
  const text = language === MANDARIN ? translated(english) : english;
  return text.replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);
}

function translated(english) {
  if (Object.hasOwn(CHINESE, english)) return CHINESE[english];
  const known = SENTENCES.find(([pattern]) => pattern.test(english));
  return known ? english.replace(...known) : english;
}

// ---------------------------------------------------------------- the words of index.html

const places = []; // every word of the page as it was loaded: its English, and who puts another in its place

function collect() {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const english = node.data.trim();
    const [before, after] = english ? node.data.split(english) : [];
    if (Object.hasOwn(CHINESE, english)) places.push([english, (text) => (node.data = before + text + after)]);
  }
  for (const name of ["title", "aria-label"]) {
    for (const element of document.querySelectorAll(`[${name}]`)) {
      places.push([element.getAttribute(name), (text) => element.setAttribute(name, text)]);
    }
  }
}

function relabel() {
  document.documentElement.lang = language;
  for (const [english, put] of places) put(say(english));
  for (const button of document.querySelectorAll("#language button")) {
    button.setAttribute("aria-pressed", button.lang === language);
  }
}

/** Puts the page into its language, and again whenever another is chosen; `changed` then renews what scripts wrote. */
export function startLanguage(changed) {
  collect();
  relabel();
  for (const button of document.querySelectorAll("#language button")) {
    button.addEventListener("click", () => {
      language = button.lang;
      remember();
      relabel();
      changed();
    });
  }
}
