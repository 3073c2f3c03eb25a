"""Sentences for the synthetic speakers, from two small grammars and word lists of our own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recitative.corpora.base import Language

CLAUSES = (2, 3, 4)  # in an utterance
# English clauses take about 3 s, Mandarin ones 4 s.
CLAUSE_SHARES = {"eng": (0.4, 0.45, 0.15), "man": (0.65, 0.35, 0)}


@dataclass(frozen=True)
class Sentence:
    """What the transcript says, and what the synthesiser is given to read."""

    transcript: str  # as the original corpus writes it: upper case words; hanzi words
    spoken: str  # English text; syllables of pinyin with tone numbers


def draw_sentence(language: Language, rng: np.random.Generator) -> Sentence:
    """Draw one utterance of two to four clauses, about 5 to 12 s when read."""
    draw_clause, joints = {
        "eng": (_english_clause, _ENGLISH_JOINTS),
        "man": (_mandarin_clause, _MANDARIN_JOINTS),
    }[language]
    words: list[str] = []
    for clause in range(int(rng.choice(CLAUSES, p=CLAUSE_SHARES[language]))):
        if clause:
            words += [",", _pick(joints, rng)]
        words += draw_clause(rng)
    if language == "eng":
        text = " ".join(words).replace(" ,", ",")
        return Sentence(text.replace(",", "").upper(), text.capitalize() + ".")
    pairs = [word.split(" ", 1) for word in words]  # a comma is a word without a reading
    return Sentence(
        " ".join(pair[0] for pair in pairs if len(pair) == 2),
        " ".join(pair[-1] for pair in pairs).replace(" ,", ",") + ".",
    )


def _pick(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def _english_clause(rng: np.random.Generator) -> list[str]:
    """[time] the [adjective] person verb the [adjective] thing place."""
    clause = [_pick(_TIMES, rng)] if rng.random() < 0.4 else []
    clause += ["the", _pick(_ADJECTIVES, rng)] if rng.random() < 0.5 else ["the"]
    clause += [_pick(_PEOPLE, rng)]
    clause += [_pick(_VERBS, rng), _pick(_ARTICLES, rng)]
    clause += [_pick(_ADJECTIVES, rng)] if rng.random() < 0.5 else []
    clause += [_pick(_THINGS, rng)]
    return [*clause, _pick(_PLACES, rng)] if rng.random() < 0.8 else clause


def _mandarin_clause(rng: np.random.Generator) -> list[str]:
    """[time] person [with person] [at a place] verb thing, or: person finds thing adjective."""
    clause = [_pick(_MANDARIN_TIMES, rng)] if rng.random() < 0.5 else []
    clause += [_pick(_MANDARIN_PEOPLE, rng)]
    if rng.random() < 0.2:
        return [
            *clause,
            "觉得 jue2 de5",
            _pick(_MANDARIN_PLACES, rng),
            "的 de5",
            _pick(_MANDARIN_THINGS, rng),
            _pick(_MANDARIN_DEGREES, rng),
            _pick(_MANDARIN_ADJECTIVES, rng),
        ]
    if rng.random() < 0.4:
        clause += ["和 he2", _pick(_MANDARIN_PEOPLE, rng), "一起 yi4 qi3"]
    clause += ["在 zai4", _pick(_MANDARIN_PLACES, rng), _pick(_MANDARIN_VERBS, rng), "了 le5"]
    if rng.random() < 0.5:
        clause += [_pick(_MANDARIN_ADJECTIVES, rng), "的 de5"]
    return [*clause, _pick(_MANDARIN_THINGS, rng)]


_ENGLISH_JOINTS = ("and", "but", "so", "while", "because", "before", "and then", "although")
_ARTICLES = ("the", "a", "another", "his", "her", "their", "one", "this")
_TIMES = (
    "yesterday",
    "this morning",
    "late at night",
    "last summer",
    "on thursday",
    "once more",
    "in the end",
    "after the rain",
    "at first",
    "every year",
    "long ago",
    "just now",
)
_PEOPLE = tuple(
    [
        "teacher",
        "farmer",
        "sailor",
        "doctor",
        "child",
        "painter",
        "baker",
        "neighbour",
        "captain",
        "judge",
        "singer",
        "traveller",
        "shepherd",
        "widow",
        "soldier",
        "gardener",
        "cousin",
        "stranger",
        "miller",
        "queen",
        "boy",
        "girl",
        "poet",
        "fisherman",
        "clerk",
        "merchant",
        "aunt",
        "uncle",
        "hunter",
        "weaver",
    ]
)
_VERBS = tuple(
    [
        "found",
        "carried",
        "watched",
        "painted",
        "followed",
        "opened",
        "sold",
        "repaired",
        "described",
        "remembered",
        "borrowed",
        "noticed",
        "gathered",
        "chose",
        "lifted",
        "washed",
        "measured",
        "pushed",
        "guarded",
        "admired",
        "finished",
        "brought",
        "hid",
        "touched",
        "examined",
        "forgot",
        "wanted",
        "built",
        "shook",
        "discovered",
    ]
)
_ADJECTIVES = tuple(
    [
        "old",
        "quiet",
        "young",
        "bright",
        "heavy",
        "careful",
        "yellow",
        "foolish",
        "gentle",
        "narrow",
        "broken",
        "purple",
        "strange",
        "warm",
        "hungry",
        "sharp",
        "thick",
        "early",
        "cheerful",
        "pale",
        "shallow",
        "famous",
        "weary",
        "polite",
        "grey",
        "smooth",
        "enormous",
        "thirsty",
        "wooden",
        "lazy",
    ]
)
_THINGS = tuple(
    [
        "boat",
        "letter",
        "lantern",
        "horse",
        "chair",
        "picture",
        "basket",
        "coat",
        "bridge",
        "orange",
        "kettle",
        "clock",
        "treasure",
        "book",
        "garden",
        "shoe",
        "window",
        "violin",
        "candle",
        "jug",
        "feather",
        "map",
        "hammer",
        "ring",
        "bell",
        "mushroom",
        "goose",
        "thread",
        "shovel",
        "cake",
    ]
)
_PLACES = (
    "by the river",
    "in the village",
    "near the church",
    "under the trees",
    "on the hill",
    "beside the fire",
    "at the market",
    "behind the house",
    "across the valley",
    "beyond the wall",
    "through the fog",
    "along the beach",
    "inside the tower",
    "without a word",
    "for three days",
    "with both hands",
    "in the cold wind",
    "from the other side",
)

# A word is its characters, a space, and its syllables with tone numbers.
_MANDARIN_JOINTS = tuple(
    [
        "然后 ran2 hou4",
        "但是 dan4 shi4",
        "所以 suo3 yi3",
        "因为 yin1 wei4",
        "而且 er2 qie3",
        "不过 bu2 guo4",
        "后来 hou4 lai2",
        "可是 ke3 shi4",
    ]
)
_MANDARIN_TIMES = tuple(
    [
        "今天 jin1 tian1",
        "昨天 zuo2 tian1",
        "去年 qu4 nian2",
        "早上 zao3 shang4",
        "晚上 wan3 shang4",
        "上个月 shang4 ge4 yue4",
        "星期五 xing1 qi1 wu3",
        "下午 xia4 wu3",
        "春天 chun1 tian1",
        "冬天 dong1 tian1",
        "刚才 gang1 cai2",
        "小时候 xiao3 shi2 hou4",
    ]
)
_MANDARIN_PEOPLE = tuple(
    [
        "老师 lao3 shi1",
        "农民 nong2 min2",
        "医生 yi1 sheng1",
        "孩子 hai2 zi5",
        "画家 hua4 jia1",
        "邻居 lin2 ju1",
        "船长 chuan2 zhang3",
        "歌手 ge1 shou3",
        "学生 xue2 sheng1",
        "朋友 peng2 you3",
        "姐姐 jie3 jie5",
        "弟弟 di4 di5",
        "爷爷 ye2 ye5",
        "奶奶 nai3 nai5",
        "工人 gong1 ren2",
        "警察 jing3 cha2",
        "司机 si1 ji1",
        "作家 zuo4 jia1",
        "我们 wo3 men5",
        "他们 ta1 men5",
        "老板 lao3 ban3",
        "客人 ke4 ren2",
        "王先生 wang2 xian1 sheng5",
        "李小姐 li3 xiao3 jie3",
    ]
)
_MANDARIN_PLACES = tuple(
    [
        "公园 gong1 yuan2",
        "学校 xue2 xiao4",
        "河边 he2 bian1",
        "山上 shan1 shang4",
        "市场 shi4 chang3",
        "家里 jia1 li3",
        "图书馆 tu2 shu1 guan3",
        "火车站 huo3 che1 zhan4",
        "医院 yi1 yuan4",
        "村子里 cun1 zi5 li3",
        "花园 hua1 yuan2",
        "桥下 qiao2 xia4",
        "北京 bei3 jing1",
        "上海 shang4 hai3",
        "路上 lu4 shang4",
        "海边 hai3 bian1",
        "厨房 chu2 fang2",
        "商店 shang1 dian4",
    ]
)
_MANDARIN_VERBS = tuple(
    [
        "看见 kan4 jian4",
        "买 mai3",
        "找到 zhao3 dao4",
        "忘记 wang4 ji4",
        "打开 da3 kai1",
        "卖 mai4",
        "画 hua4",
        "喜欢上 xi3 huan1 shang4",
        "准备 zhun3 bei4",
        "修理 xiu1 li3",
        "讨论 tao3 lun4",
        "带走 dai4 zou3",
        "洗 xi3",
        "介绍 jie4 shao4",
        "发现 fa1 xian4",
        "借 jie4",
        "送 song4",
        "收到 shou1 dao4",
        "研究 yan2 jiu1",
        "放下 fang4 xia4",
    ]
)
_MANDARIN_ADJECTIVES = tuple(
    [
        "漂亮 piao4 liang4",
        "旧 jiu4",
        "新 xin1",
        "小 xiao3",
        "安静 an1 jing4",
        "红色 hong2 se4",
        "有趣 you3 qu4",
        "奇怪 qi2 guai4",
        "便宜 pian2 yi5",
        "重要 zhong4 yao4",
        "简单 jian3 dan1",
        "干净 gan1 jing4",
        "温暖 wen1 nuan3",
        "黑 hei1",
        "特别 te4 bie2",
        "快乐 kuai4 le4",
    ]
)
_MANDARIN_DEGREES = tuple(
    ["很 hen3", "非常 fei1 chang2", "有点 you3 dian3", "不太 bu2 tai4", "特别 te4 bie2", "最 zui4"]
)
_MANDARIN_THINGS = tuple(
    [
        "房子 fang2 zi5",
        "书 shu1",
        "信 xin4",
        "自行车 zi4 xing2 che1",
        "苹果 ping2 guo3",
        "衣服 yi1 fu5",
        "钢琴 gang1 qin2",
        "地图 di4 tu2",
        "花 hua1",
        "鱼 yu2",
        "茶 cha2",
        "电影 dian4 ying3",
        "照片 zhao4 pian4",
        "鸟 niao3",
        "雨伞 yu3 san3",
        "问题 wen4 ti2",
        "故事 gu4 shi5",
        "礼物 li3 wu4",
        "手表 shou3 biao3",
        "桌子 zhuo1 zi5",
        "杯子 bei1 zi5",
        "船 chuan2",
        "灯 deng1",
        "蛋糕 dan4 gao1",
    ]
)
