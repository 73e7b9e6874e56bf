"""Make the PDF, Word and Parquet documents of `fixtures/corpus`, and `fixtures/expected.jsonl`.

You do not need this to build, run or test qwen3-index: what it makes is checked in. Run it only to change a
document, or after you have changed one of those that are written by hand:

    pip install --require-hashes -r scripts/requirements-documents.txt
    apt-get install fonts-liberation fonts-wqy-microhei fonts-ipafont-gothic
    python scripts/make_documents.py [--check]

The HTML, text, Markdown, CSV, TSV and JSONL files are written by hand, in the encodings that `ENCODINGS`
names and one of them packed (`gzip -n`); this only reads them. `expected.jsonl` says for every document of
the corpus which text should come out of it, cleaned. It never comes from the tool: for what is made here it
comes from the source below, and for what is written by hand from the small readers at the end, by rules that
are easy to check. Where the readers are too simple for a new page or text, they stop or need a new line.

`--check` makes everything in a temporary folder and compares bytes with what is checked in. For the same
bytes you need the packages of the requirements, the fonts of Debian 12 (their hashes are checked) and a
Python with zlib itself, not one of its faster successors.
"""

import argparse
import csv
import datetime
import gzip
import hashlib
import io
import json
import re
import sys
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import docx
import html5lib
import pyarrow as pa
import pyarrow.parquet as pq
import typst
from docx.document import Document as WordDocument
from docx.enum.style import WD_STYLE_TYPE
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml import parse_xml
from docx.text.paragraph import Paragraph as WordParagraph
from reportlab import rl_config
from reportlab.lib.colors import grey
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import cm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    FrameBreak,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

ROOT = Path(__file__).resolve().parent.parent / "fixtures"
CORPUS = ROOT / "corpus"
EXPECTED = "expected.jsonl"

# --- The words. A mark starts a block: `# ` and `## ` a heading, `* ` and `1. ` a list item (`+ ` and `1.. `
# one inside another), `| ` a row of cells; a line `---` starts a page. Braces are for Word, see `PIECES`.

MOUNTING_GUIDE = """
# Petrel Alpine: mounting guide

The Alpine is made for places where nobody wants to climb twice. Read this guide in the warm, pack what the
table asks for, and leave the box with the small parts closed until you stand on level ground.

## Before you go up

* Charge the drill and put a second battery into an inside pocket, because cold empties it within minutes.
* Tell somebody in the valley when you expect to be back, and what to do if you are not.
* Switch the heater on at home for ten minutes. It has to become too hot to touch.

| Tool | Size | Pieces
| Spanner | 13 mm | two
| Hexagon key | 5 mm | one
| Clamp for the mast | 48 to 60 mm | three
| Lead seal | with the number of the hut | one

## Choosing the spot

Snow does not fall evenly around a hut. The wind sweeps one corner clear and buries the other, and a mast that
was free in September may have lost half of its height by February. Ask the warden where the drift lies in
spring, and go to the opposite side. Keep ten metres away from the chimney: its warm air adds as much as four
degrees to a calm winter night, and the soot blocks the radiation shield.

---

## Setting up the mast

1. Drill four holes, each 12 cm deep, and blow the dust out before the anchors go in.
2. Raise the mast with two people; a third one watches the level.
3. Tighten the lower clamp first, then the upper one, then the lower one again.
4. Run the cable down on the side away from the wind, with a loop at the end, so that water drips off.

The arm has to point north. On a ridge the compass is of little use, since iron in the rock pulls it aside by
as much as fifteen degrees. Use the noon shadow instead: at the local noon, which the display shows under
“Sun”, the shadow of the mast points to the north, exactly and free of charge.

## First start

Connect the mains, close the lid and wait. The lamp is red while the heater warms up, amber while the station
looks for satellites, and green when the first reading has gone out. In a deep valley the amber phase can last
for twenty minutes; a café is a good place to spend them.

If the lamp goes out altogether, the fuse in the lid has done its duty. Two spare ones are taped to the
inside. When the second one blows as well, take no third: call us, describe the weather of the last hour, and
go down.
"""

GAZETTE = """
# The Petrel Gazette

Number 27, spring 2026. A sheet for everybody who has a mast in the garden.

## Hail over Hereford

On the second of May, at ten past five, a single cloud crossed the county from west to east and left a white
stripe that could be seen from an aeroplane an hour later. Eleven of our readers live below its path. Their
rain gauges tell an odd story: the first seven show next to nothing, the last four a cloudburst. The reason is
that hail bounces off a funnel, and what stays in it has to melt before it can be counted. Mrs. Pugh of
Bromyard put a thermometer into hers and saw the last of the ice go at twenty to eight. If you want to know
how much has really come down, tip the ice into a measuring jug, wait, and write the figure by hand into the
field for remarks.

## A letter from Tromsø

Dear editor, you asked who among your readers has the darkest station. I believe that it is mine. From the end
of November until the middle of January the solar cell on top reports zero, at all hours, without any fault in
it. My neighbour’s daughter, who is six, was so sorry for the poor thing that she drew it a sun and stuck it
to the lid. Since then it has been in good spirits. Yours, Øyvind.

## Ask the workshop

Why does my wind vane turn slowly all night when there is no wind? Because there is some: below half a metre a
second the cups stand still, but the vane, which weighs less, follows every breath of cold air that slides
down the slope. Look at the hours. If it points uphill from dusk to dawn and wanders about by day, then you
have found your own small mountain breeze, and you may be proud of it.

## Small advertisements

Wanted: a barograph in working order, with or without paper. Given away: forty issues of a sailing journal,
slightly damp. Lost: one anemometer cup, between Leith and the Isle of May; the finder may keep it.
"""

ANNUAL_REPORT = """
# Informe anual del taller

El año pasado entraron en el taller de Valencia 1.846 aparatos, un nueve por ciento más que el anterior.
Detrás de la cifra no hay peores estaciones, sino más estaciones: por primera vez superamos las treinta mil en
servicio entre España, Portugal y América. De cada mil, volvieron a nuestras manos sesenta y una.

## De dónde vienen las averías

Tres de cada diez se deben al agua. No a la lluvia, que para eso están hechas, sino a la condensación: el
aparato se calienta al sol, se enfría de golpe con una tormenta y aspira aire húmedo por la junta. La válvula
que montamos desde marzo iguala la presión sin dejar pasar ni una gota, y en el segundo semestre las averías
de este tipo cayeron a la mitad.

| Causa | Casos | Coste medio
| Condensación | 553 | 21,40 €
| Golpes y caídas | 402 | 38,00 €
| Rayo o sobretensión | 117 | 112,75 €
| Fauna (hormigas, loros, cabras) | 96 | 17,90 €
| Sin avería aparente | 678 | 9,00 €

Llama la atención la última fila. Más de un tercio de los envíos no tenía nada que reparar; bastaba con una
pila nueva o con leer la página cuatro. Cada uno de ellos nos cuesta una hora, y al cliente, una semana sin
datos.

---

## Lo que hicimos

* Se grabaron doce vídeos breves, sin música, que enseñan a desmontar cada pieza.
* El teléfono de averías abre también los sábados por la mañana.
* Begoña y Íñigo aprendieron a soldar componentes de medio milímetro; ya no mandamos placas fuera.

## Lo que salió mal

En julio nos quedamos sin cojinetes durante diecinueve días. El proveedor avisó a tiempo, pero el mensaje fue
a parar a la carpeta de publicidad, y nadie la abre en verano. Pedimos disculpas a los 84 clientes que
esperaron de más y les devolvimos los portes. Ahora hay existencias para tres meses y un calendario pegado en
la puerta.

## Para el año que viene

1. Reparar en menos de cinco días nueve de cada diez aparatos.
2. Publicar los planos del pluviómetro, para que cualquiera pueda imprimirse un embudo.
3. Plantar un limonero en el patio, como pidió por unanimidad la asamblea de diciembre.

Gracias a quienes nos escribieron para quejarse: ustedes son nuestro instrumento más exacto.
"""

FROST_MANUAL = """
# 果园霜冻预警手册

春天的晚霜是果农最怕的天气。杏花、梨花盛开的时候，只要后半夜有一两个小时低于零下二度，一年的收成就可能去掉
大半。这本小册子告诉您怎样用我们的气象站看懂霜冻，提前做好准备。

## 霜是怎样来的

晴朗无风的夜晚，地面的热量不断散向天空，贴近地面的空气最先变冷。冷空气比较重，会像水一样顺着山坡流下来，聚
在低洼的地方。所以同一片果园，坡顶平安无事，沟底却白茫茫一片。傍晚云层散开，风也停了，就要格外小心。

## 传感器装在哪里

* 高度和花枝一致，一般离地一米五。
* 至少装两个，一个在最低处，一个在半坡。
* 不要挂在灌溉管旁边，水汽会让读数偏高。

| 作物 | 花期临界温度 | 建议报警温度
| 杏 | 零下二度 | 一度
| 梨 | 零下一度半 | 一度半
| 葡萄 | 零下一度 | 二度

## 收到警报以后

1. 先看湿度。空气越干燥，温度下降越快，留给您的时间越少。
2. 再看半坡和沟底的温差。温差超过三度，说明上面有暖空气，可以打开风机，把暖空气吹下来。
3. 没有风机的，在日出前两小时点燃草堆，让烟雾盖住整个果园。喷灌只能在水源充足的时候使用，一旦开始就不能停，
否则结冰更快。

天亮以后不要急着关机。太阳出来的头一个小时，花瓣上的冰融化吸热，枝头的温度往往还会再降一次。去年四月，凉州
的马师傅就是早收工半小时，丢了半园的花。
"""

CANTEEN_NOTICE = """
# 食堂改造公告

为了改善就餐环境，二楼食堂将于下月初开始改造，工期大约六个星期。改造期间的安排如下，请各部门相互转告。

## 用餐地点

一楼大厅临时设置八十个座位，中午分两批用餐。研发部和测试部的同事请在十一点半就餐，其他部门请在十二点一刻以
后就餐。晚餐暂停供应，公司按照每人每天二十五元的标准发放补贴，和当月工资一起到账。

## 菜单的变化

由于临时厨房不能使用明火，这段时间不提供炒菜和面条，改为蒸菜、炖菜和盖浇饭。清真窗口照常开放，餐具单独清洗。
对花生、虾蟹过敏的同事，请把姓名告诉厨师长老周，他会另外准备一份。

| 星期 | 主菜 | 汤
| 星期一 | 粉蒸排骨 | 冬瓜汤
| 星期三 | 土豆炖牛肉 | 番茄蛋汤
| 星期五 | 清蒸鲈鱼 | 酸辣汤

改造完成以后，食堂会增加靠窗的单人座位，还有一台咖啡机。至于大家反复要求的火锅，行政部认真讨论过三次，结论
是烟雾报警器不同意。
"""

POLLEN_GUIDE = """
# 花粉観測の手引き

この手引きは、学校や町内会で花粉の数を調べる方のために書きました。特別な資格は要りません。顕微鏡が一台と、
毎朝十五分の時間があれば、立派な観測所になります。

## 用意するもの

* ワセリンを薄く塗ったガラス板を、一週間分で七枚
* 雨よけの屋根が付いた台
* 倍率が百倍の顕微鏡と、数取り器

## 置き場所を決める

台は、地面から一メートル半ほどの高さで、まわりに大きな木がない場所に置きます。校舎の屋上は風通しがよい反面、
地上より少ない値になりがちです。一度決めた場所は、途中で変えないでください。去年の値と比べられなくなるから
です。

## 毎朝の手順

1. 午前九時に、前の日のガラス板を新しいものと取り替える。
2. 染色液を一滴落とし、静かにカバーをかぶせる。
3. 一センチ四方に見える花粉を、種類ごとに数える。
4. 結果を気象観測装置の画面から入力する。

---

## 見分け方

| 種類 | 形 | 飛ぶ時期
| スギ | 丸く、小さな突起が一つ | 二月から四月
| ヒノキ | 丸く、突起がない | 三月から五月
| ブタクサ | 全体に短いとげ | 八月から十月

スギの突起は、指を一本立てたこぶしのように見えます。慣れないうちは、黄砂や車のほこりを花粉と間違えることが
よくあります。色が染まらないものは花粉ではありません。

## 数字の読み方

花粉は、雨の次の日によく晴れて、南風が強くなると一気に増えます。当社の装置は、気温と風と湿度から翌日の飛散
量を見積もりますが、皆さんが数えた値が届くたびに、計算の係数が少しずつ直されます。つまり、毎朝の十五分が、
町じゅうの人の鼻を助けているのです。

風邪をひいた日は、無理をせずに休んでください。欠測は恥ではありません。ただし、見ていないのに数字を書くこと
だけは、決してしないでください。
"""

CALIBRATION_AGREEMENT = """
# Calibration agreement

Between Petrel B.V., Rotterdam (“Petrel”), and the {b:Wad}den Sea Obser{i:vat}ory, Texel (“the Observatory”).

## Scope

Petrel calibrates the instruments that are listed below once a year, in {del:May}{ins:April}, before the
tourists come. The work is done on the spot{hid: (ask Haruto whether he still gets seasick)} and takes {ins:no
more than }two days.

| Instrument | Quantity | Limit of error
| Barometer | {field:=2+1=3} | 0.3 hPa
| Thermometer, in the {b:screen} | 5 | 0.2 °C
| Cup anemometer | 2 | {del:5}{ins:3} per cent{br}above 4 m/s

## Duties of the Observatory

* It keeps the path to the masts free of sheep{note:Goats included. See the minutes of the meeting in March.}.
* It lends a bicycle, and a pump.
* It tells Petrel at least {ins:ten} days before an instrument is moved.

## Fees

Each visit costs{tab}€ 640{tab}including the ferry. An invoice is paid within thirty days; how to do so is
told on {link:the page about payments=https://help.petrel.example/en/payments}. If a storm makes the crossing
impossible, the visit is put off free of charge{note:Nine Beaufort or more, as measured by the Observatory’s
own instruments.}.

### Changes

This agreement can be changed in writing only. A text message is writing; a shout across the harbour is not.

{outline:4}Signatures

{tab}Ines{br}{tab}for Petrel, {field:DATE \\@ "d MMMM yyyy"=12 January 2026}
"""

EMERGENCY_PLAN = """
# Plan de emergencia del almacén

{box:Teléfono de guardia: 112 y, después, la extensión 7. No al revés.}Este plan vale para el almacén de Quart
de Poblet y para cualquiera que esté dentro, aunque solo haya venido a dejar un {i:pa}quete. Cuelga junto a la
puerta, y se repasa cada {del:dos años}{ins:primavera}.

{style:Capítulo}Inundación

1. Si el barranco pasa de {b:1,80 m}, suena la sirena. Se deja lo que se tenga en las manos.
2. Se sube a la nave alta por la escalera {b:exte}rior; nunca se baja al sótano{hid:, donde Pablo guarda el
vino}.
3. El último corta la corriente en el cuadro gris:
1.. la llave general,
1.. y luego la del muelle.

Nadie mueve el coche. Ningún coche vale lo que cuesta sacarlo de un garaje con agua{note:En octubre de 2024 se
perdieron así dos furgonetas de la empresa de al lado.}.

{style:Capítulo}Fuego en las baterías de litio

* El extintor de polvo no sirve. Use el {link:contenedor de arena=https://intranet.petrel.example/arena} de la
zona C.
* Ventile: el humo es {b:t}ó{b:xico}.

| Zona | Responsable | Suplente
| A y B | Amparo Ribes | Íñigo Sáez
| C, baterías | Begoña Ferrer{br}(mañanas) | Pablo Núñez
| Muelle | {ins:Encarna Gil}{del:José Luis} | vigilante de turno

{sdt:Punto de reunión: el aparcamiento de bicicletas, al otro lado de la calle.}

## Después

Se pasa lista. Quien falte se comunica a los bomberos con nombre, apellidos y último lugar donde se le vio. No
se vuelve a entrar hasta que lo diga {field:MERGEFIELD responsable=la persona al mando},
ni siquiera a por el móvil.
"""

HUT_MINUTES = """
# 山小屋観測点　設置検討会　議事録

日時：{tab}二〇二六年五月十八日　午後三時から{br}場所：{tab}横浜拠点　第二会議室{br}出席：{tab}佐藤、中村、
王（電話で参加）

## 一　設置の時期

雪解けを待って、{del:六月の上旬}{ins:七月の第一週}に機材を上げる。今年は残雪が多く、小屋番の話では、水場ま
でまだ一{b:メー}トル以上の雪がある。{hid:費用の件は別紙で相談。}荷物は合わせて百八十キロになるため、ヘリコ
プターの空き便に載せてもらえるよう、中村が山岳会に頼む{note:昨年は一便あたり二十二万円だった。}。

## 二　機材

| 品名 | 数 | 担当
| 気象観測装置（{b:加熱式}） | {field:MERGEFIELD 台数=三台} | 佐藤
| 太陽電池 | 四枚 | {ins:中村}{del:佐藤}
| 衛星通信機 | 一台 | 王

{box:天気が崩れたら必ず引き返す。予備日は二日とる。}電源は太陽電池を主とし、冬の間は風力で補う。雷の対策に
ついては、{link:岐阜の観測所の報告=https://example.jp/kaminari}を手本にする。

## 三　決まったこと

* 観測の間隔は十分とする。
* 写真は一日に三枚だけ送る。
+ 夜明け
+ 正午
+ 日没
* 熊よけの鈴を{i:全}員に配る{note:鈴は総務の棚にある。音の出ないものが一つ混じっているので注意。}。

次回は六月二日に開く。議事録の作成は{field:AUTHOR=中村}。
"""

PURCHASE_CONTRACT = """
# 传感器采购合同

{box:合同编号：海采字第二〇二六〇三一号}甲方：海燕气象仪器（杭州）有限公司{br}乙方：苏州微{b:感}电子有限公司

经双方协商，甲方向乙方采购湿度传感器，{del:共计三千只}{ins:共计五千只}，条款如下。

## 第一条　产品与价格

| 型号 | 数量 | 单价（元） | 交货日期
| 湿敏元件，{b:裸片} | 四千只 | 十二元五角 | 四月三十日
| 湿敏元件，带防尘帽 | 一千只 | 十六元 | {del:五月十日}{ins:五月二十日}

## 第二条　质量要求

1. 在二十五度、相对湿度百分之五十的条件下，误差不得超过百分之{b:一点}五{note:测量方法见附件二，由双方共同
封存的标准湿度箱为准。}。
2. 在八十五度、相对湿度百分之八十五的条件下放置一千小时，漂移不得超过百分之二。
3. 每批抽检五十只：
3.. 外观检查；
3.. 恒温恒湿试验。

## 第三条　付款

合同签订后七日内，甲方预付货款的{field:MERGEFIELD 预付比例=百分之三十}；
验收合格后十五日内付清余款。{hid:底价不得低于十
一元八角，谈判时不要透露。}发票的开具办法见{link:甲方的网站=https://haiyan.example/fapiao}。

{outline:2}关于延期

因洪水、地震等不可抗力不能按期交货的，乙方应当在三日内通知甲方，并且提供证明{note:当地气象台或者应急管理部
门出具的书面材料。}。其他原因造成的延期，每天按货款的千分之二支付违约金。

## 第四条　争议的解决

双方应当先友好协商；协商不成的，提交杭州仲裁委员会仲裁。本合同一式四份，双方各执两份。

签字：{tab}{tab}日期：{field:DATE \\@ "yyyy"=二〇二六年三月六日}
"""

RATINGS = [
    (640001, "Easy to mount, even for two left hands.", "en", 2024, 4.5, True),
    (
        640002,
        "The app forgot my garden after the update, and then the garden forgot the app.",
        "en",
        2025,
        2.0,
        True,
    ),
    (640003, "显示屏的字很大，老人看得清。", "zh", 2025, 5.0, True),
    (640004, "风杯声音有点大，\n晚上开窗睡觉听得见。", "zh", 2026, None, False),
    (640005, "説明書の図が分かりやすく、三十分で取り付けられました。", "ja", 2024, 4.0, True),
    (640006, "　電池のふたが固くて、爪が割れました。改善を望みます。", "ja", 2026, 2.5, False),
    (640007, "Mi hija la usa para su trabajo de ciencias; sacó un diez.", "es", 2025, 5.0, True),
    (640008, "", "es", 2025, 3.0, False),
    (640009, "El tornillo pequeño se oxida junto al mar. ¿Por qué?", "es", 2026, None, True),
    (640010, "Does what it says on the box: “rain, wind, no nonsense”.", "en", 2026, 4.75, True),
    (640011, "希望增加潮汐预报，\u200b我们这里是渔村。", "zh", 2024, 3.5, True),
    (640012, "雪の重さで支柱が曲がったが、値は最後まで届いていた。", "ja", 2025, None, True),
]

# What is written by hand and not in UTF-8. A byte order mark goes with `utf-8-sig` and `utf-16`.
ENCODINGS = {
    "en/customer-reviews.csv": "utf-8-sig",
    "en/field-trip-notes.txt": "utf-16",
    "es/biblioteca.txt": "cp1252",
    "es/reseñas.csv": "cp1252",
    "ja/故障かなと思ったら.html": "cp932",
    "ja/用語集.tsv": "utf-16",
    "ja/避難訓練.txt": "euc_jp",
    "zh/售后网点.html": "gbk",
    "zh/投诉记录.csv": "gb18030",
    "zh/班车安排.txt": "gbk",
}

FIXED = datetime.datetime(2026, 3, 14, 9, 26, 53)
STAMP = "2026-03-14T09:26:53Z"


def require(condition: bool, message: str) -> None:
    """Stop with a reason: half a fixture is worse than none."""
    if not condition:
        raise SystemExit(f"make_documents: {message}")


# --- Blocks: the words above, read


@dataclass
class Block:
    """What a mark starts: a kind (`h1`, `p`, `ul`, `ol`, `row`, `page`), its words; depth and number."""

    kind: str
    text: str
    depth: int = 1
    number: str = ""

    @property
    def cells(self) -> list[str]:
        return [cell.strip() for cell in self.text.split("|")]


MARK = re.compile(r"(?P<page>---$)|(?P<hash>#+) |(?P<ul>[*+]) |(?P<ol>\d)(?P<dots>\.+) |(?P<row>\|) ")


def blocks(source: str) -> Iterator[Block]:
    """A line without a mark goes on with the block before it, unless a blank line parts them."""
    found: list[Block] = []
    is_open = False
    for line in source.splitlines():
        mark = MARK.match(line)
        if not line:
            is_open = False
        elif mark:
            found.append(marked(mark, line[mark.end() :]))
            is_open = True
        elif is_open:
            found[-1].text = joined(found[-1].text, line)
        else:
            found.append(Block("p", line))
            is_open = True
    yield from found


def marked(mark: re.Match[str], text: str) -> Block:
    """The block that a mark starts."""
    if mark["page"]:
        return Block("page", "")
    if mark["hash"]:
        return Block("h" + str(len(mark["hash"])), text)
    if mark["ul"]:
        return Block("ul", text, 2 if mark["ul"] == "+" else 1)
    if mark["ol"]:
        return Block("ol", text, len(mark["dots"]), mark["ol"])
    return Block("row", text)


def joined(before: str, after: str) -> str:
    """Lines of one paragraph: Chinese and Japanese have no space where a line ends."""
    gap = "" if is_wide(before[-1]) or is_wide(after[0]) else " "
    return before + gap + after


def is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def clean(text: str) -> str:
    """The rules of `src/clean.rs`."""
    invisible = "\u00ad\u200b\u200c\u200d\u2060\ufeff"
    seen = (c for c in text if c.isspace() or not (c in invisible or unicodedata.category(c) == "Cc"))
    return " ".join("".join(seen).split())


# --- PDF


@dataclass(frozen=True)
class Type:
    """How a PDF is set: fonts, sizes and margins."""

    regular: str
    bold: str
    size: float = 11
    columns: int = 1
    footer: str = ""
    wide: bool = False

    @property
    def leading(self) -> float:
        return self.size * (1.75 if self.wide else 1.4)


@dataclass(frozen=True)
class FontFile:
    """A font of a Debian package; another version of it would give other bytes."""

    path: str
    sha256: str


FONTS = {
    "Sans": FontFile(
        "truetype/liberation/LiberationSans-Regular.ttf",
        "f8ace1f892b2bd9dc1792ba7f097fa7588f84fed48321480e04de5390828221f",
    ),
    "Sans-Bold": FontFile(
        "truetype/liberation/LiberationSans-Bold.ttf",
        "361c61b82d575c5c35fd9157fda8b0194bcfcd0d88ea8521a4fb5dd53d33dddc",
    ),
    "Serif": FontFile(
        "truetype/liberation/LiberationSerif-Regular.ttf",
        "1c9c77c2cd0f3c2d2aeef53ea50a4d5d3d684ac73a431d7c70d7864887d194a3",
    ),
    "Serif-Bold": FontFile(
        "truetype/liberation/LiberationSerif-Bold.ttf",
        "af228b9de767e5162168e433351b3d0e086648219c6c12ed888fba0bda3694d5",
    ),
    "MicroHei": FontFile(
        "truetype/wqy/wqy-microhei.ttc", "2420e8078af796b19a3f6ef13de527a1a91c1e7171eea115926c614ced1009b3"
    ),
    "IPAGothic": FontFile(
        "opentype/ipafont-gothic/ipag.ttf", "503af4a8b84d1079b8e2e358dc7f7a7fb8cb7a1f212f35eaef6782dbfc75a55e"
    ),
}


def register_fonts(folder: Path) -> None:
    """The fonts that are embedded, and the one that every reader of PDF has to bring along."""
    for name, font in FONTS.items():
        path = folder / font.path
        require(path.is_file(), f"{path} is missing; the packages are named at the top of this script")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        require(digest == font.sha256, f"{path} is another version ({digest})")
        pdfmetrics.registerFont(TTFont(name, path, subfontIndex=0))
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))


def styles(look: Type) -> dict[str, ParagraphStyle]:
    """A style for each kind of block."""
    wrap = "CJK" if look.wide else None
    body = ParagraphStyle(
        "p",
        fontName=look.regular,
        fontSize=look.size,
        leading=look.leading,
        spaceAfter=look.size * 0.8,
        wordWrap=wrap,
        splitLongWords=0 if not look.wide else 1,
    )
    item = ParagraphStyle(
        "li", body, leftIndent=18, bulletIndent=4, bulletFontName=look.regular, spaceAfter=3
    )
    return {
        "p": body,
        "ul": item,
        "ol": item,
        "cell": ParagraphStyle("cell", body, spaceAfter=0, leading=look.size * 1.3),
        "h1": ParagraphStyle(
            "h1",
            body,
            fontName=look.bold,
            fontSize=look.size * 1.8,
            leading=look.size * 2.3,
            spaceAfter=look.size * 1.2,
        ),
        "h2": ParagraphStyle(
            "h2",
            body,
            fontName=look.bold,
            fontSize=look.size * 1.3,
            leading=look.size * 1.7,
            spaceBefore=look.size * 0.9,
            keepWithNext=look.columns == 1,  # in columns, a paragraph may go on in the next one
        ),
    }


def flowables(source: str, look: Type) -> list[Flowable]:
    """The blocks as reportlab sets them."""
    style = styles(look)
    set_blocks: list[Flowable] = []
    rows: list[list[str]] = []
    for block in [*blocks(source), Block("end", "")]:
        if rows and block.kind != "row":
            set_blocks += [Spacer(1, look.size / 2), table(rows, style["cell"]), Spacer(1, look.size)]
            rows = []
        if block.kind == "row":
            rows.append(block.cells)
        elif block.kind == "page":
            set_blocks.append(PageBreak())
        elif block.kind in style:
            set_blocks.append(Paragraph(block.text, style[block.kind], bulletText=bullet(block)))
    if look.columns > 1:
        set_blocks.insert(2, FrameBreak())  # title and date stand above the columns
    return set_blocks


def bullet(block: Block) -> str | None:
    """What stands before a list item on the page."""
    return {"ul": "•", "ol": f"{block.number}."}.get(block.kind)


def table(rows: list[list[str]], style: ParagraphStyle) -> Table:
    """A table with lines, as wide as the text."""
    look = TableStyle([("GRID", (0, 0), (-1, -1), 0.5, grey), ("VALIGN", (0, 0), (-1, -1), "TOP")])
    made = Table([[Paragraph(cell, style) for cell in row] for row in rows], style=look)
    made.hAlign = "LEFT"
    return made


def pdf_text(source: str, look: Type) -> str:
    """The words in reading order as they stand on the pages, with bullets, numbers and footers."""
    parts: list[str] = []
    page = 1
    for block in blocks(source):
        if block.kind == "page":
            parts.append(look.footer.format(page))
            page += 1
        elif block.kind == "row":
            parts += block.cells
        else:
            parts.append(f"{bullet(block) or ''} {block.text}")
    return " ".join([*parts, look.footer.format(page)])


def write_pdf(path: Path, source: str, look: Type) -> None:
    """Set with reportlab, which writes the same bytes each time when it is told to be `invariant`."""
    width, height = A4
    margin, gutter, head, below = 2.2 * cm, 0.8 * cm, 2.8 * cm, 13.4 * cm
    if look.columns > 1:
        column = (width - 2 * margin - gutter) / 2
        top = height - margin - head
        frames = [
            Frame(margin, top, width - 2 * margin, head),
            Frame(margin, top - below, column, below),
            Frame(margin + column + gutter, top - below, column, below),
        ]
    else:
        frames = [Frame(margin, margin, width - 2 * margin, height - 2 * margin)]

    def footer(canvas, template) -> None:
        canvas.setFont(look.regular, 9)
        canvas.drawString(margin, margin / 2, look.footer.format(template.page))

    title = next(blocks(source)).text
    template = BaseDocTemplate(str(path), pagesize=A4, title=title, author="Petrel", invariant=1)
    template.addPageTemplates(PageTemplate(frames=frames, onPageEnd=footer))
    template.build(flowables(source, look))
    pages = source.count("\n---\n") + 1
    require(template.page == pages, f"{path.name} has {template.page} pages instead of {pages}")


def write_typst_pdf(path: Path, source: str) -> None:
    """Set with typst, another writer of PDF: tagged, compressed object streams, its own subset of a font."""
    date = f"datetime(year: {FIXED.year}, month: {FIXED.month}, day: {FIXED.day})"
    parts = [
        f'#set document(title: [{next(blocks(source)).text}], author: "Petrel Ibérica", date: {date})',
        '#set page(paper: "a4", margin: 2.6cm)',
        '#set text(font: "Libertinus Serif", size: 12pt, lang: "es", hyphenate: false, ligatures: false)',
        "#set par(leading: 0.8em, spacing: 1.3em)",
    ]
    rows: list[list[str]] = []
    for block in [*blocks(source), Block("end", "")]:
        if rows and block.kind != "row":
            cells = ", ".join(f"[{typst_words(cell)}]" for row in rows for cell in row)
            parts.append(f"#table(columns: {len(rows[0])}, {cells})")
            rows = []
        if block.kind == "row":
            rows.append(block.cells)
        elif block.kind == "page":
            parts.append("#pagebreak()")
        else:
            sign = {"h1": "= ", "h2": "== ", "ul": "- ", "ol": "+ "}.get(block.kind, "")
            parts.append(sign + typst_words(block.text))
    # A list goes on from line to line; all else is parted by a blank line.
    text = re.sub(r"(\n[-+] [^\n]*)\n(?=\n[-+] )", r"\1", "\n\n".join(parts))
    path.write_bytes(typst.compile(text.encode(), ignore_system_fonts=True))


def typst_words(text: str) -> str:
    """Words in which nothing means anything to typst."""
    return re.sub(r"([#*_$@<\\`~\[\]])", r"\\\1", text)


# --- Word

PIECE = re.compile(r"\{(\w+)(?::([^{}]*))?\}")
NAMESPACES = {
    "w": "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "r": "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
    "a": "http://schemas.openxmlformats.org/drawingml/2006/main",
    "mc": "http://schemas.openxmlformats.org/markup-compatibility/2006",
    "v": "urn:schemas-microsoft-com:vml",
    "wp": "http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing",
    "wps": "http://schemas.microsoft.com/office/word/2010/wordprocessingShape",
}
W = f"{{{NAMESPACES['w']}}}"
BOX = """<w:r><mc:AlternateContent><mc:Choice Requires="wps"><w:drawing><wp:anchor distT="45720"
 distB="45720" distL="114300" distR="114300" simplePos="0" relativeHeight="251659264"
 behindDoc="0" locked="0" layoutInCell="1" allowOverlap="1"><wp:simplePos x="0" y="0"/>
<wp:positionH relativeFrom="column"><wp:align>right</wp:align></wp:positionH>
<wp:positionV relativeFrom="paragraph"><wp:posOffset>0</wp:posOffset></wp:positionV>
<wp:extent cx="2160000" cy="720000"/><wp:effectExtent l="0" t="0" r="0" b="0"/>
<wp:wrapSquare wrapText="bothSides"/><wp:docPr id="217" name="Text Box 2"/><wp:cNvGraphicFramePr/>
<a:graphic><a:graphicData uri="{wps}"><wps:wsp><wps:cNvSpPr txBox="1"/><wps:spPr><a:xfrm>
<a:off x="0" y="0"/><a:ext cx="2160000" cy="720000"/></a:xfrm><a:prstGeom prst="rect"><a:avLst/>
</a:prstGeom></wps:spPr><wps:txbx><w:txbxContent>{paragraph}</w:txbxContent></wps:txbx>
<wps:bodyPr rot="0" vert="horz" wrap="square"/></wps:wsp></a:graphicData></a:graphic></wp:anchor>
</w:drawing></mc:Choice><mc:Fallback><w:pict><v:shape id="_x0000_s1026" type="#_x0000_t202"
 style="position:absolute;width:170pt;height:57pt"><v:textbox><w:txbxContent>{paragraph}
</w:txbxContent></v:textbox></v:shape></w:pict></mc:Fallback></mc:AlternateContent></w:r>""".replace("\n", "")
FOOTNOTES = "application/vnd.openxmlformats-officedocument.wordprocessingml.footnotes+xml"


@dataclass(frozen=True)
class WordFile:
    """What a Word file has besides the words of its body; nothing of it but those should come out."""

    source: str
    language: str
    header: str
    footer: str
    comment: str
    is_direct: bool = False
    """List items are numbered by the paragraph itself instead of by its style."""


def xml(text: str):
    """An element with the namespaces of Word."""
    declared = " ".join(f'xmlns:{prefix}="{name}"' for prefix, name in NAMESPACES.items())
    return parse_xml(re.sub(r"^<[\w:]+", rf"\g<0> {declared}", text, count=1))


@dataclass
class Written:
    """A Word file on its way: each piece goes into the file and, where a person would read it, to `said`."""

    file: WordFile
    document: WordDocument = field(default_factory=docx.Document)
    said: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    changes: int = 0

    def body(self) -> None:
        """All blocks in order; rows in sequence are one table."""
        rows: list[list[str]] = []
        for block in [*blocks(self.file.source), Block("end", "")]:
            if rows and block.kind != "row":
                self.table(rows)
                rows = []
            if block.kind == "row":
                rows.append(block.cells)
            elif block.kind != "end":
                self.block(block)

    def block(self, block: Block) -> None:
        """A paragraph that is no table cell."""
        mark, style = "", None
        if block.kind.startswith("h"):
            level = int(block.kind[1:])
            mark, style = "#" * level, f"Heading {level}"
        elif block.kind in ("ul", "ol"):
            mark = "-"
            style = {"ul": "List Bullet", "ol": "List Number"}[block.kind] + " 2" * (block.depth - 1)
        paragraph = self.document.add_paragraph(style=style)
        if mark == "-" and self.file.is_direct:
            self.number_directly(paragraph)
        text, own_mark = self.settings(paragraph, block.text)
        self.words(paragraph, text, mark or own_mark)

    def number_directly(self, paragraph: WordParagraph) -> None:
        """The list of the style, as a setting of the paragraph, whose style becomes a plain one."""
        numbers = paragraph.style.element.pPr.numPr.numId.val
        paragraph.style = self.document.styles["Normal"]
        properties = f'<w:numPr><w:ilvl w:val="0"/><w:numId w:val="{numbers}"/></w:numPr>'
        paragraph._p.get_or_add_pPr().append(xml(properties))

    def settings(self, paragraph: WordParagraph, text: str) -> tuple[str, str]:
        """What braces at the start say of the whole paragraph, and the mark that follows from it."""
        piece = PIECE.match(text)
        name, value = piece.groups() if piece else ("", "")
        if name == "outline":
            paragraph._p.get_or_add_pPr().append(xml(f'<w:outlineLvl w:val="{int(value) - 1}"/>'))
            return text[piece.end() :], "#" * int(value)
        if name == "style":
            paragraph.style = self.chapter_style(value)
            return text[piece.end() :], "##"
        if name == "sdt":
            control = xml('<w:sdt><w:sdtPr><w:alias w:val="meeting point"/></w:sdtPr><w:sdtContent/></w:sdt>')
            paragraph._p.addprevious(control)
            control[-1].append(paragraph._p)
            return value, ""
        return text, ""

    def chapter_style(self, name: str):
        """A style of the author's own: a heading only by the style that it is based on."""
        if name not in self.document.styles:
            style = self.document.styles.add_style(name, WD_STYLE_TYPE.PARAGRAPH)
            style.base_style = self.document.styles["Heading 2"]
        return self.document.styles[name]

    def table(self, rows: list[list[str]]) -> None:
        """Each cell's text behind a mark."""
        made = self.document.add_table(len(rows), len(rows[0]), style="Table Grid")
        for row, cells in zip(rows, made.rows, strict=True):
            for text, cell in zip(row, cells.cells, strict=True):
                self.words(cell.paragraphs[0], text, "|")
        self.document.add_paragraph()

    def words(self, paragraph: WordParagraph, text: str, mark: str) -> None:
        """Plain text between pieces in braces; text boxes come behind the paragraph that holds them."""
        said, boxes, at = [mark, " "], [], 0
        for piece in PIECE.finditer(text):
            if plain := text[at : piece.start()]:
                paragraph.add_run(plain)
                said.append(plain)
            name, value = piece.groups()
            (boxes if name == "box" else said).append(PIECES[name](self, paragraph, value))
            at = piece.end()
        if at < len(text):
            paragraph.add_run(text[at:])
            said.append(text[at:])
        self.said += ["".join(said), *boxes]

    def change(self, paragraph: WordParagraph, tag: str, text_tag: str, value: str) -> None:
        """A tracked change."""
        self.changes += 1
        paragraph._p.append(
            xml(
                f'<w:{tag} w:id="{900 + self.changes}" w:author="Ines" w:date="{STAMP}"><w:r>'
                f'<w:{text_tag} xml:space="preserve">{value}</w:{text_tag}></w:r></w:{tag}>'
            )
        )

    def inserted(self, paragraph: WordParagraph, value: str) -> str:
        self.change(paragraph, "ins", "t", value)
        return value

    def deleted(self, paragraph: WordParagraph, value: str) -> str:
        self.change(paragraph, "del", "delText", value)
        return ""

    def bold(self, paragraph: WordParagraph, value: str) -> str:
        paragraph.add_run(value).bold = True
        return value

    def italic(self, paragraph: WordParagraph, value: str) -> str:
        paragraph.add_run(value).italic = True
        return value

    def hidden(self, paragraph: WordParagraph, value: str) -> str:
        paragraph.add_run(value).font.hidden = True
        return ""

    def tab(self, paragraph: WordParagraph, _value: str) -> str:
        paragraph.add_run().add_tab()
        return " "

    def line_break(self, paragraph: WordParagraph, _value: str) -> str:
        paragraph.add_run().add_break()
        return " "

    def link(self, paragraph: WordParagraph, value: str) -> str:
        """`words=address`"""
        words, address = value.split("=", 1)
        relation = self.document.part.relate_to(address, RELATIONSHIP_TYPE.HYPERLINK, is_external=True)
        run = f'<w:r><w:rPr><w:u w:val="single"/></w:rPr><w:t xml:space="preserve">{words}</w:t></w:r>'
        paragraph._p.append(xml(f'<w:hyperlink r:id="{relation}" w:history="1">{run}</w:hyperlink>'))
        return words

    def field(self, paragraph: WordParagraph, value: str) -> str:
        """`code=result`"""
        code, result = value.rsplit("=", 1)
        for inner in (
            '<w:fldChar w:fldCharType="begin"/>',
            f'<w:instrText xml:space="preserve"> {code} </w:instrText>',
            '<w:fldChar w:fldCharType="separate"/>',
            f"<w:t>{result}</w:t>",
            '<w:fldChar w:fldCharType="end"/>',
        ):
            paragraph._p.append(xml(f"<w:r>{inner}</w:r>"))
        return result

    def note(self, paragraph: WordParagraph, value: str) -> str:
        """A footnote: its text is said at the very end."""
        self.notes.append(value)
        reference = f'<w:footnoteReference w:id="{len(self.notes)}"/>'
        paragraph._p.append(xml(f'<w:r><w:rPr><w:vertAlign w:val="superscript"/></w:rPr>{reference}</w:r>'))
        return ""

    def box(self, paragraph: WordParagraph, value: str) -> str:
        """A text box, twice in the file: once for Word, once for what is older."""
        inner = f"<w:p><w:r><w:t>{value}</w:t></w:r></w:p>"
        paragraph._p.append(xml(BOX.format(wps=NAMESPACES["wps"], paragraph=inner)))
        return value

    def footnotes(self) -> None:
        """The part with the footnotes, and the two separators that Word always puts there."""
        if not self.notes:
            return
        separators = "".join(
            f'<w:footnote w:type="{kind}" w:id="{number}"><w:p><w:r><w:{kind}/></w:r></w:p></w:footnote>'
            for number, kind in ((-1, "separator"), (0, "continuationSeparator"))
        )
        reference = '<w:r><w:rPr><w:vertAlign w:val="superscript"/></w:rPr><w:footnoteRef/></w:r>'
        notes = "".join(
            f'<w:footnote w:id="{number}"><w:p>{reference}<w:r><w:t xml:space="preserve"> {text}</w:t></w:r>'
            "</w:p></w:footnote>"
            for number, text in enumerate(self.notes, 1)
        )
        head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        blob = f'{head}<w:footnotes xmlns:w="{NAMESPACES["w"]}">{separators}{notes}</w:footnotes>'
        main = self.document.part
        part = Part(PackURI("/word/footnotes.xml"), FOOTNOTES, blob.encode(), main.package)
        main.relate_to(part, RELATIONSHIP_TYPE.FOOTNOTES)

    def surroundings(self) -> None:
        """Header, footer, a comment, and properties that do not change from run to run."""
        section = self.document.sections[0]
        section.header.paragraphs[0].text = self.file.header
        section.footer.paragraphs[0].text = self.file.footer
        first = next(paragraph for paragraph in self.document.paragraphs if paragraph.runs)
        comment = self.document.add_comment(first.runs, text=self.file.comment, author="Ines", initials="IF")
        comment._comment_elm.set(f"{W}date", STAMP)
        properties = self.document.core_properties
        properties.author = properties.last_modified_by = "Petrel"
        properties.title = next(blocks(self.file.source)).text
        properties.comments, properties.language, properties.revision = "", self.file.language, 3
        properties.created = properties.modified = FIXED


PIECES: dict[str, Callable[[Written, WordParagraph, str], str]] = {
    "b": Written.bold,
    "i": Written.italic,
    "ins": Written.inserted,
    "del": Written.deleted,
    "hid": Written.hidden,
    "tab": Written.tab,
    "br": Written.line_break,
    "link": Written.link,
    "field": Written.field,
    "note": Written.note,
    "box": Written.box,
}


def write_word(path: Path, file: WordFile) -> str:
    """Writes the file; returns the text that should come out."""
    written = Written(file)
    written.body()
    written.footnotes()
    written.surroundings()
    packed = io.BytesIO()
    written.document.save(packed)
    repack(packed, path)
    return " ".join(written.said + written.notes)


def repack(packed: io.BytesIO, path: Path) -> None:
    """The same archive without the time of day."""
    with zipfile.ZipFile(packed) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            entry = zipfile.ZipInfo(name)
            entry.create_system = 0
            target.writestr(entry, source.read(name), zipfile.ZIP_DEFLATED)


# --- Parquet


def write_parquet(path: Path) -> list[tuple[str, str]]:
    """Columns of many types, in more than one row group."""
    columns = list(zip(*RATINGS, strict=True))
    language = pa.dictionary(pa.int32(), pa.string())
    types = [pa.int64(), pa.string(), language, pa.int32(), pa.float64(), pa.bool_()]
    names = ["id", "text", "lang", "year", "rating", "public"]
    arrays = [
        pa.array(column, pa.string()).dictionary_encode() if kind == language else pa.array(column, kind)
        for column, kind in zip(columns, types, strict=True)
    ]
    pq.write_table(pa.table(arrays, names=names), path, row_group_size=5)
    return [(str(row[0]), row[1]) for row in RATINGS]


# --- Readers of what is written by hand


def decoded(path: Path) -> str:
    """The file's text in its encoding, unpacked."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    return data.decode(ENCODINGS.get(path.relative_to(CORPUS).as_posix(), "utf-8"))


def text_rows(path: Path) -> Iterator[tuple[str, str]]:
    """One document."""
    yield path.relative_to(CORPUS).as_posix(), decoded(path)


def markdown_rows(path: Path) -> Iterator[tuple[str, str]]:
    """As much of Markdown as these files use."""
    yield path.relative_to(CORPUS).as_posix(), markdown_text(decoded(path))


def markdown_text(source: str) -> str:
    source = re.sub(r"\A(---|\+\+\+)\n.*?\n\1\n", "", source, flags=re.DOTALL)
    lines, is_code = [], False
    for line in source.splitlines():
        if line.startswith("```"):
            is_code = not is_code
        elif is_code:
            lines.append(line)
        elif not re.fullmatch(r"\|[-:| ]+\||\*\*\*", line):  # the rule of a table, or one across the page
            lines.append(markdown_line(line))
    return "\n".join(lines)


def markdown_line(line: str) -> str:
    line = re.sub(r"^> ", "", line)
    line = re.sub(r"^(\s*)(?:[-*]|\d+\.) ", r"\1- ", line)
    line = re.sub(r"^(\|.*)\|$", r"\1", line)
    line = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", line)
    return line.replace("**", "").replace("*", "").replace("`", "")


def jsonl_rows(path: Path) -> Iterator[tuple[str, str]]:
    """A document a line; blank lines count."""
    name = path.relative_to(CORPUS).as_posix()
    for number, line in enumerate(decoded(path).split("\n"), 1):
        if line.strip():
            value = json.loads(line)
            yield str(value.get("id") or f"{name}:{number}"), value["text"]


def table_rows(path: Path) -> Iterator[tuple[str, str]]:
    """CSV or TSV: a row without an id is called by the line on which it starts."""
    name, text = path.relative_to(CORPUS).as_posix(), decoded(path)
    semicolons = ";" in text.splitlines()[0]
    delimiter = "\t" if path.suffix == ".tsv" else ";" if semicolons else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header = next(reader)
    starts = reader.line_num + 1
    for row in reader:
        value = dict(zip(header, row, strict=True))
        yield value.get("id") or f"{name}:{starts}", value["text"]
        starts = reader.line_num + 1


# Elements of HTML whose text no one reads on the page, and roles that do the same to any element.
UNSEEN = {"script", "style", "noscript", "template", "head", "svg", "iframe"}
UNSEEN |= {"nav", "menu", "button", "select", "textarea"}
UNSEEN_ROLES = {"navigation", "menu", "search", "toolbar"}
# Elements that end a word. All others that these pages use stand within a line.
# fmt: off
BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "br", "caption", "dd", "details", "div", "dl",
    "dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "html", "legend", "main",
    "ol", "p", "pre", "section", "summary", "table", "tbody", "thead", "tr", "ul",
}
INLINE = {
    "a", "b", "cite", "code", "dfn", "em", "i", "img", "input", "kbd", "label", "q", "small", "span",
    "strong", "sub", "sup", "time", "wbr",
}
# fmt: on


def html_rows(path: Path) -> Iterator[tuple[str, str]]:
    """Title, then the main content or all of the body."""
    source = decoded(path)
    if source.startswith("<?xml"):
        page = ElementTree.fromstring(source.encode())
    else:
        page = html5lib.parse(source, treebuilder="etree", namespaceHTMLElements=False)
    title = next(element for element in page.iter() if local_name(element) == "title")
    mains = [e for e in page.iter() if local_name(e) == "main" or e.get("role") == "main"]
    inner = html_text(mains[0]) if len(mains) == 1 else ""
    text = inner if clean(inner) else html_text(page)
    yield path.relative_to(CORPUS).as_posix(), f"{title.text} {text}"


def local_name(element: ElementTree.Element) -> str:
    """Empty for a comment."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def html_text(element: ElementTree.Element) -> str:
    """The text inside an element, with marks, alternative texts, and gaps around blocks."""
    name = local_name(element)
    is_hidden = "hidden" in element.attrib or element.get("aria-hidden") == "true"
    if not name or name in UNSEEN or is_hidden or element.get("role") in UNSEEN_ROLES:
        return ""
    inner = [element.text or ""]
    for child in element:
        inner += [html_text(child), child.tail or ""]
    text = "".join(inner)
    if name == "img":
        return element.get("alt", "")
    if re.fullmatch("h[1-6]", name):
        return f"\n{'#' * int(name[1])} {text}\n"
    if name == "li":
        return f"\n- {text}\n"
    if name in ("td", "th"):
        return f"\n| {text}\n"
    require(name in BLOCKS | INLINE, f"<{name}> is neither known as a block nor as inline")
    return f"\n{text}\n" if name in BLOCKS else text


READERS: dict[str, Callable[[Path], Iterator[tuple[str, str]]]] = {
    ".txt": text_rows,
    ".md": markdown_rows,
    ".jsonl": jsonl_rows,
    ".csv": table_rows,
    ".tsv": table_rows,
    ".html": html_rows,
    ".xhtml": html_rows,
}

# --- All of it

SANS = Type("Sans", "Sans-Bold", size=12, footer="Petrel Alpine, mounting guide, page {}")
SERIF = Type("Serif", "Serif-Bold", columns=2)
PDFS = {
    "en/alpine-mounting-guide.pdf": (MOUNTING_GUIDE, SANS),
    "en/petrel-gazette.pdf": (GAZETTE, SERIF),
    "ja/花粉観測の手引き.pdf": (
        POLLEN_GUIDE,
        Type("IPAGothic", "IPAGothic", wide=True, footer="花粉観測の手引き　{}頁"),
    ),
    "zh/霜冻预警手册.pdf": (FROST_MANUAL, Type("MicroHei", "MicroHei", wide=True)),
    "zh/食堂公告.pdf": (CANTEEN_NOTICE, Type("STSong-Light", "STSong-Light", size=12, wide=True)),
}
TYPST_PDFS = {"es/informe-anual.pdf": ANNUAL_REPORT}
WORD = {
    "en/calibration-agreement.docx": WordFile(
        CALIBRATION_AGREEMENT, "en-GB", "Confidential", "Petrel B.V., page 1 of 1", "Is April early enough?"
    ),
    "es/plan-de-emergencia.docx": WordFile(
        EMERGENCY_PLAN, "es-ES", "Petrel Ibérica, S. L.", "Versión 4, para colgar", "¿Quién revisa esto?"
    ),
    "ja/山小屋設置議事録.docx": WordFile(
        HUT_MINUTES, "ja-JP", "社外秘", "一頁", "日付を確認してください。", is_direct=True
    ),
    "zh/传感器采购合同.docx": WordFile(
        PURCHASE_CONTRACT, "zh-CN", "海燕气象仪器", "第一页，共一页", "法务部请再核对一遍。"
    ),
}
PARQUET = "ratings.parquet"


def make_documents(corpus: Path) -> dict[str, list[tuple[str, str]]]:
    """Writes what is made below a folder; returns ids and texts for each file."""
    rows: dict[str, list[tuple[str, str]]] = {}
    for folder in ("en", "es", "ja", "zh"):
        (corpus / folder).mkdir(parents=True, exist_ok=True)
    for name, (source, look) in PDFS.items():
        write_pdf(corpus / name, source, look)
        rows[name] = [(name, pdf_text(source, look))]
    for name, source in TYPST_PDFS.items():
        write_typst_pdf(corpus / name, source)
        rows[name] = [(name, pdf_text(source, Type("", "")))]
    for name, file in WORD.items():
        rows[name] = [(name, write_word(corpus / name, file))]
    rows[PARQUET] = write_parquet(corpus / PARQUET)
    return rows


def expected(made: dict[str, list[tuple[str, str]]]) -> str:
    """A line for every document that yields text, in the order of a walk that sorts each folder by name."""
    names = {path.relative_to(CORPUS).as_posix() for path in CORPUS.rglob("*") if path.is_file()} | set(made)
    lines, ids = [], set()
    for name in sorted(names, key=lambda name: [part.encode() for part in name.split("/")]):
        path = CORPUS / name
        kind = Path(name.removesuffix(".gz")).suffix
        require(name in made or kind in READERS, f"{name} is of a kind that nothing here reads")
        for id_, text in made.get(name) or READERS[kind](path):
            require(id_ not in ids, f"the id {id_} is there twice")
            ids.add(id_)
            if cleaned := clean(text):
                lines.append(json.dumps({"id": id_, "text": cleaned}, ensure_ascii=False) + "\n")
    return "".join(lines)


def make(root: Path) -> list[str]:
    """Everything, below another folder than `ROOT` if so wanted; returns the names."""
    made = make_documents(root / "corpus")
    (root / EXPECTED).write_text(expected(made), encoding="utf-8", newline="\n")
    return [f"corpus/{name}" for name in made] + [EXPECTED]


def check() -> None:
    """Fails, and says where, if what is checked in is not what this script makes."""
    with tempfile.TemporaryDirectory() as scratch:
        names = make(Path(scratch))
        differing = [name for name in names if not is_same(ROOT / name, Path(scratch) / name)]
    for name in differing:
        print(f"differs: fixtures/{name}", file=sys.stderr)
    require(not differing, f"{len(differing)} of {len(names)} files differ")
    print(f"{len(names)} files are as checked in")


def is_same(left: Path, right: Path) -> bool:
    return left.is_file() and left.read_bytes() == right.read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with what is checked in")
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"), help="where the fonts are")
    options = parser.parse_args()
    rl_config.invariant = 1
    register_fonts(options.fonts)
    if options.check:
        check()
        return
    for name in make(ROOT):
        print(f"{(ROOT / name).stat().st_size:8} fixtures/{name}")


if __name__ == "__main__":
    main()
