//! Writes numbers as lists and headings show them. Pure.

/// A way to write the numbers of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// No number.
    Nothing,
    /// 1, 2, 3
    Decimal,
    /// At least this many digits: 01, 02, 03
    Padded(usize),
    /// １, ２, ３
    FullWidth,
    /// 1st, 2nd, 3rd
    Ordinal,
    /// a, b, …, z, aa, bb
    LowerLetters,
    UpperLetters,
    LowerRoman,
    UpperRoman,
    /// Ⅰ as one character of a list of characters; numbers after the end of the list are decimal.
    Listed(&'static str),
    /// 一, 二, …, 十, 十一, …, 一百零一
    Chinese,
    /// 壹, 贰, …, 壹拾
    ChineseLegal,
    /// 一, 二, …, 十, 十一, …, 百一
    Japanese,
    /// 一, 二, …, 一〇, 一一
    Digits,
}

/// Maximum size of a number with the text around it, in bytes. Each paragraph of a list repeats that text, so a long one could
/// make a small file expand to any size.
pub const LABEL_BYTES_MAX: usize = 255;

const CIRCLED: &str = "①②③④⑤⑥⑦⑧⑨⑩⑪⑫⑬⑭⑮⑯⑰⑱⑲⑳㉑㉒㉓㉔㉕㉖㉗㉘㉙㉚㉛㉜㉝㉞㉟㊱㊲㊳㊴㊵㊶㊷㊸㊹㊺㊻㊼㊽㊾㊿";
const IN_PARENTHESES: &str = "⑴⑵⑶⑷⑸⑹⑺⑻⑼⑽⑾⑿⒀⒁⒂⒃⒄⒅⒆⒇";
const WITH_FULL_STOP: &str = "⒈⒉⒊⒋⒌⒍⒎⒏⒐⒑⒒⒓⒔⒕⒖⒗⒘⒙⒚⒛";
const CHINESE_CIRCLED: &str = "㊀㊁㊂㊃㊄㊅㊆㊇㊈㊉";
const STEMS: &str = "甲乙丙丁戊己庚辛壬癸";
const BRANCHES: &str = "子丑寅卯辰巳午未申酉戌亥";
const AIUEO: &str =
    "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン";
const IROHA: &str =
    "イロハニホヘトチリヌルヲワカヨタレソツネナラムウヰノオクヤマケフコエテアサキユメミシヱヒモセスン";
const GANADA: &str = "가나다라마바사아자차카타파하";
const CHOSUNG: &str = "ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎ";
const LOWER_RUSSIAN: &str = "абвгдежзиклмнопрстуфхцчшщыэюя";
const UPPER_RUSSIAN: &str = "АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЫЭЮЯ";

impl Counting {
    /// Returns the counting with this name in WordprocessingML (`ST_NumberFormat`, ECMA-376, part 1, section 17.18.59).
    pub fn of_word(name: &str) -> Counting {
        match name {
            "none" => Counting::Nothing,
            "decimalZero" => Counting::Padded(2),
            "decimalFullWidth" | "decimalFullWidth2" => Counting::FullWidth,
            "ordinal" => Counting::Ordinal,
            "lowerLetter" => Counting::LowerLetters,
            "upperLetter" => Counting::UpperLetters,
            "lowerRoman" => Counting::LowerRoman,
            "upperRoman" => Counting::UpperRoman,
            "decimalEnclosedCircle" | "decimalEnclosedCircleChinese" => Counting::Listed(CIRCLED),
            "decimalEnclosedParen" => Counting::Listed(IN_PARENTHESES),
            "decimalEnclosedFullstop" => Counting::Listed(WITH_FULL_STOP),
            "ideographEnclosedCircle" => Counting::Listed(CHINESE_CIRCLED),
            "ideographTraditional" => Counting::Listed(STEMS),
            "ideographZodiac" => Counting::Listed(BRANCHES),
            "aiueo" | "aiueoFullWidth" => Counting::Listed(AIUEO),
            "iroha" | "irohaFullWidth" => Counting::Listed(IROHA),
            "ganada" => Counting::Listed(GANADA),
            "chosung" => Counting::Listed(CHOSUNG),
            "russianLower" => Counting::Listed(LOWER_RUSSIAN),
            "russianUpper" => Counting::Listed(UPPER_RUSSIAN),
            "chineseCounting"
            | "chineseCountingThousand"
            | "taiwaneseCounting"
            | "taiwaneseCountingThousand" => Counting::Chinese,
            "chineseLegalSimplified" => Counting::ChineseLegal,
            "japaneseCounting" => Counting::Japanese,
            "ideographDigital" | "japaneseDigitalTenThousand" | "taiwaneseDigital" => Counting::Digits,
            _ => Counting::Decimal,
        }
    }

    /// Returns the counting with this `style:num-format` (OpenDocument 1.3, part 3, section 19.508). LibreOffice writes the
    /// first numbers of a counting that the standard does not define, such as `一, 二, 三, ...`.
    pub fn of_open_document(format: &str) -> Counting {
        let first = format.trim_start_matches(['(', '（']).chars().next();
        match first {
            None => Counting::Nothing,
            Some('a') => Counting::LowerLetters,
            Some('A') => Counting::UpperLetters,
            Some('i') => Counting::LowerRoman,
            Some('I') => Counting::UpperRoman,
            Some('0') => Counting::Padded(2),
            Some('１') => Counting::FullWidth,
            Some('一') => Counting::Chinese,
            Some('壹') => Counting::ChineseLegal,
            Some(first) => {
                [CIRCLED, STEMS, BRANCHES, AIUEO, IROHA, GANADA, CHOSUNG, LOWER_RUSSIAN, UPPER_RUSSIAN]
                    .into_iter()
                    .find(|list| list.starts_with(first))
                    .map_or(Counting::Decimal, Counting::Listed)
            }
        }
    }

    /// Returns a number in this counting. The result is empty for [`Counting::Nothing`].
    pub fn number(self, number: u32) -> String {
        match self {
            Counting::Nothing => String::new(),
            Counting::Decimal => number.to_string(),
            Counting::Padded(digits) => format!("{number:0digits$}"),
            Counting::FullWidth => {
                digits(number, &['０', '１', '２', '３', '４', '５', '６', '７', '８', '９'])
            }
            Counting::Ordinal => ordinal(number),
            Counting::LowerLetters => letters(number, b'a'),
            Counting::UpperLetters => letters(number, b'A'),
            Counting::LowerRoman => roman(number).to_lowercase(),
            Counting::UpperRoman => roman(number),
            Counting::Listed(list) => {
                let at = number.checked_sub(1).and_then(|at| usize::try_from(at).ok());
                at.and_then(|at| list.chars().nth(at)).map_or_else(|| number.to_string(), String::from)
            }
            Counting::Chinese => positional(number, "零一二三四五六七八九", "十百千", Ones::AfterFirst),
            Counting::ChineseLegal => positional(number, "零壹贰叁肆伍陆柒捌玖", "拾佰仟", Ones::Always),
            Counting::Japanese => positional(number, "〇一二三四五六七八九", "十百千", Ones::Never),
            Counting::Digits => digits(number, &['〇', '一', '二', '三', '四', '五', '六', '七', '八', '九']),
        }
    }
}

fn digits(number: u32, digits: &[char; 10]) -> String {
    number.to_string().bytes().map(|digit| digits[usize::from(digit - b'0')]).collect()
}

fn ordinal(number: u32) -> String {
    let ending = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// Returns a letter, repeated once more after every 26 numbers. Numbers whose letters would fill a line are decimal.
fn letters(number: u32, first: u8) -> String {
    match number.checked_sub(1) {
        Some(index @ ..780) => {
            let letter = char::from(first + u8::try_from(index % 26).unwrap_or_default());
            letter.to_string().repeat(index as usize / 26 + 1)
        }
        _ => number.to_string(),
    }
}

fn roman(number: u32) -> String {
    #[rustfmt::skip]
    const VALUES: [(u32, &str); 13] = [
        (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"),
        (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
    ];
    if !(1..4000).contains(&number) {
        return number.to_string();
    }
    let (mut left, mut text) = (number, String::new());
    for (value, sign) in VALUES {
        while left >= value {
            text.push_str(sign);
            left -= value;
        }
    }
    text
}

/// Where the digit one stands before a unit such as ten.
#[derive(Clone, Copy, PartialEq)]
enum Ones {
    Always,
    /// Except for a ten at the start: 十一, but 一百一十.
    AfterFirst,
    Never,
}

/// Returns a number of digits and units, such as 二十一. Numbers from 10,000 on are decimal.
fn positional(number: u32, digits: &str, units: &str, ones: Ones) -> String {
    if !(1..10_000).contains(&number) {
        return number.to_string();
    }
    let digit = |digit: u32| digits.chars().nth(digit as usize).unwrap_or_default();
    let mut text = String::new();
    let mut has_gap = false;
    for (place, unit) in
        [(1000, units.chars().nth(2)), (100, units.chars().nth(1)), (10, units.chars().next()), (1, None)]
    {
        match number / place % 10 {
            0 => has_gap = !text.is_empty(),
            one => {
                if has_gap && ones != Ones::Never {
                    text.push(digit(0));
                }
                has_gap = false;
                let is_first_ten = place == 10 && text.is_empty();
                let is_silent = one == 1
                    && unit.is_some()
                    && (ones == Ones::Never || ones == Ones::AfterFirst && is_first_ten);
                if !is_silent {
                    text.push(digit(one));
                }
                text.extend(unit);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_in_lists() {
        let word = |name, numbers: &[u32]| {
            let counting = Counting::of_word(name);
            numbers.iter().map(|&number| counting.number(number)).collect::<Vec<_>>().join(" ")
        };
        for (name, numbers, expected) in [
            ("decimal", &[0, 1, 12][..], "0 1 12"),
            ("unknown", &[3], "3"),
            ("none", &[3], ""),
            ("decimalZero", &[3, 10], "03 10"),
            ("decimalFullWidth", &[10], "１０"),
            ("ordinal", &[1, 2, 3, 4, 11, 12, 13, 21, 112], "1st 2nd 3rd 4th 11th 12th 13th 21st 112th"),
            ("lowerLetter", &[0, 1, 26, 27, 53, 4_000_000_000], "0 a z aa aaa 4000000000"),
            ("upperLetter", &[28], "BB"),
            ("lowerRoman", &[4, 9, 1994, 4000], "iv ix mcmxciv 4000"),
            ("upperRoman", &[14], "XIV"),
            ("decimalEnclosedCircle", &[1, 50, 51], "① ㊿ 51"),
            ("ideographTraditional", &[1, 10, 11], "甲 癸 11"),
            (
                "chineseCounting",
                &[1, 10, 11, 20, 101, 110, 1001, 1010, 9999],
                "一 十 十一 二十 一百零一 一百一十 一千零一 一千零一十 九千九百九十九",
            ),
            ("chineseLegalSimplified", &[10, 21], "壹拾 贰拾壹"),
            ("japaneseCounting", &[10, 11, 101, 1111], "十 十一 百一 千百十一"),
            ("ideographDigital", &[10, 21], "一〇 二一"),
            ("aiueo", &[2], "イ"),
            ("iroha", &[2], "ロ"),
        ] {
            assert_eq!(word(name, numbers), expected, "{name}");
        }
        for (format, expected) in [
            ("1", "2"),
            ("a", "b"),
            ("I", "II"),
            ("", ""),
            ("一, 二, 三, ...", "二"),
            ("①, ②", "②"),
            ("甲, 乙", "乙"),
            ("?", "2"),
        ] {
            assert_eq!(Counting::of_open_document(format).number(2), expected, "{format}");
        }
    }
}
