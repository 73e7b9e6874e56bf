//! Shows numbers as spreadsheets do, by number formats (ECMA-376, part 1, 18.8.31). Pure.
//!
//! Dates and times are shown in the order of ISO 8601, whatever order the format names, because that depends on the country.

use chrono::{DateTime, NaiveDateTime};

/// Significant digits of a number in the format `General`. Doubles have no more that mean something.
const GENERAL_DIGITS: usize = 15;

/// Maximum number of decimals.
const DECIMALS_MAX: usize = 30;

/// Seconds from the first day of a workbook, 1899-12-30, to the Unix epoch.
const EPOCH_SECONDS: i64 = 25_569 * DAY_SECONDS;

/// Days from the first day of a workbook with dates from 1904 to that of others.
const DAYS_OF_1904: f64 = 1462.0;

const DAY_SECONDS: i64 = 86_400;

/// A number format.
#[derive(Debug, PartialEq)]
pub struct NumberFormat {
    /// The formats of positive numbers, negative numbers and zero. A format that is missing is that of positive numbers.
    sections: Vec<Section>,
}

#[derive(Debug, Default, PartialEq)]
struct Section {
    /// The numbers that the section is for, if it says so: an operator and a number.
    condition: Option<(NumberComparison, f64)>,
    parts: Vec<FormatPart>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum NumberComparison {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    MoreOrEqual,
    More,
}

#[derive(Debug, Clone, PartialEq)]
enum FormatPart {
    Literal(String),
    /// A digit that is always shown (`0`), or only if it is significant (`#` and `?`).
    Digit {
        is_shown: bool,
    },
    Point,
    Comma,
    Percent,
    /// `E+` or `E-`.
    Exponent,
    /// A fraction, such as `?/?`. The number is shown as a decimal instead.
    Slash,
    General,
    /// A part of a date or time: `y`, `m`, `d`, `h` or `s`.
    Time(char),
    /// Hours, minutes or seconds that do not start again after a day, an hour or a minute: `[h]`.
    Elapsed(char),
}

impl NumberFormat {
    /// Parses a format code, such as `#,##0.00 "€"`.
    pub fn parse(code: &str) -> NumberFormat {
        let mut sections = vec![Section::default()];
        let mut chars = code.chars().peekable();
        while let Some(c) = chars.next() {
            let section = sections.len() - 1;
            let section = &mut sections[section];
            let part = match c {
                ';' => {
                    sections.push(Section::default());
                    continue;
                }
                '"' => FormatPart::Literal(chars.by_ref().take_while(|&c| c != '"').collect()),
                '\\' => FormatPart::Literal(chars.next().into_iter().collect()),
                // A space as wide as the next character.
                '_' => {
                    chars.next();
                    FormatPart::Literal(" ".to_owned())
                }
                // The next character fills the cell, so that there is a gap.
                '*' => {
                    chars.next();
                    FormatPart::Literal(" ".to_owned())
                }
                '[' => {
                    let inside: String = chars.by_ref().take_while(|&c| c != ']').collect();
                    match bracket(&inside) {
                        Bracket::Condition(operator, number) => {
                            section.condition = Some((operator, number));
                            continue;
                        }
                        Bracket::FormatPart(part) => part,
                        Bracket::Other => continue,
                    }
                }
                '0' => FormatPart::Digit { is_shown: true },
                '#' | '?' => FormatPart::Digit { is_shown: false },
                '.' => FormatPart::Point,
                ',' => FormatPart::Comma,
                '%' => FormatPart::Percent,
                '/' if section.parts.iter().any(|part| matches!(part, FormatPart::Digit { .. })) => {
                    FormatPart::Slash
                }
                'E' | 'e' if matches!(chars.peek(), Some('+' | '-')) => {
                    chars.next();
                    FormatPart::Exponent
                }
                'G' | 'g' if starts_with(&mut chars, "eneral") => FormatPart::General,
                'A' | 'a' if starts_with(&mut chars, "M/PM") || starts_with(&mut chars, "/P") => continue,
                'y' | 'Y' | 'e' | 'b' | 'B' => FormatPart::Time('y'),
                'm' | 'M' => FormatPart::Time('m'),
                'd' | 'D' => FormatPart::Time('d'),
                'h' | 'H' => FormatPart::Time('h'),
                's' | 'S' => FormatPart::Time('s'),
                '@' => FormatPart::General,
                c => FormatPart::Literal(c.to_string()),
            };
            section.parts.push(part);
        }
        NumberFormat { sections }
    }

    /// Returns a number as it is shown. `is_1904` says whether days are counted from 1904.
    pub fn shown(&self, number: f64, is_1904: bool) -> String {
        let (section, number) = self.section(number);
        let Some(section) = section else { return general(number) };
        if section.is_time() {
            return section.time(number, is_1904).unwrap_or_else(|| general(number));
        }
        let shown = section.number(number);
        shown.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Returns the section for a number, and the number as the section shows it: without its sign if the section is only for
    /// negative numbers.
    fn section(&self, number: f64) -> (Option<&Section>, f64) {
        let numeric = &self.sections[..self.sections.len().min(3)];
        if numeric.iter().any(|section| section.condition.is_some()) {
            let fits = |section: &&Section| {
                section.condition.is_none_or(|(operator, bound)| operator.holds(number, bound))
            };
            return (numeric.iter().find(fits), number);
        }
        match numeric {
            [_, negative, ..] if number < 0.0 => (Some(negative), -number),
            [_, _, zero] if number == 0.0 => (Some(zero), number),
            _ => (numeric.first(), number),
        }
    }
}

/// Returns whether the next characters are these, and removes them if so.
fn starts_with(chars: &mut std::iter::Peekable<std::str::Chars>, text: &str) -> bool {
    let mut ahead = chars.clone();
    if text.chars().all(|c| ahead.next().is_some_and(|next| next.eq_ignore_ascii_case(&c))) {
        *chars = ahead;
        return true;
    }
    false
}

/// What is between `[` and `]`.
enum Bracket {
    Condition(NumberComparison, f64),
    FormatPart(FormatPart),
    /// A color or a language.
    Other,
}

fn bracket(inside: &str) -> Bracket {
    // `$€-407` is a currency and a language.
    if let Some(currency) = inside.strip_prefix('$') {
        return Bracket::FormatPart(FormatPart::Literal(
            currency.split('-').next().unwrap_or_default().to_owned(),
        ));
    }
    let unit = inside.chars().next().map(|c| c.to_ascii_lowercase());
    if let Some(unit @ ('h' | 'm' | 's')) = unit
        && inside.chars().all(|c| c.eq_ignore_ascii_case(&unit))
    {
        return Bracket::FormatPart(FormatPart::Elapsed(unit));
    }
    let operators = [
        ("<=", NumberComparison::LessOrEqual),
        ("<>", NumberComparison::NotEqual),
        (">=", NumberComparison::MoreOrEqual),
        ("<", NumberComparison::Less),
        (">", NumberComparison::More),
        ("=", NumberComparison::Equal),
    ];
    let found = operators
        .iter()
        .find_map(|(sign, operator)| Some((*operator, inside.strip_prefix(sign)?.trim().parse().ok()?)));
    found.map_or(Bracket::Other, |(operator, number)| Bracket::Condition(operator, number))
}

impl NumberComparison {
    fn holds(self, number: f64, bound: f64) -> bool {
        match self {
            NumberComparison::Less => number < bound,
            NumberComparison::LessOrEqual => number <= bound,
            NumberComparison::Equal => number == bound,
            NumberComparison::NotEqual => number != bound,
            NumberComparison::MoreOrEqual => number >= bound,
            NumberComparison::More => number > bound,
        }
    }
}

impl Section {
    fn is_time(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, FormatPart::Time(_) | FormatPart::Elapsed(_)))
    }

    fn has(&self, part: &FormatPart) -> bool {
        self.parts.contains(part)
    }

    /// Shows a date, a time or both. Returns `None` if the number is no date.
    fn time(&self, number: f64, is_1904: bool) -> Option<String> {
        let is_elapsed = self.parts.iter().any(|part| matches!(part, FormatPart::Elapsed(_)));
        let (has_hours, has_seconds) = (self.has(&FormatPart::Time('h')), self.has(&FormatPart::Time('s')));
        if is_elapsed {
            return Some(elapsed(number));
        }
        let time = date_time(number, is_1904)?;
        // Beside hours or seconds, `m` means minutes.
        let (year, day) = (self.has(&FormatPart::Time('y')), self.has(&FormatPart::Time('d')));
        let has_month = self.has(&FormatPart::Time('m')) && (year || day || !has_hours && !has_seconds);
        let date = match (year, has_month, day) {
            (_, _, true) | (false, true, false) => time.format("%Y-%m-%d").to_string(),
            (true, true, false) => time.format("%Y-%m").to_string(),
            (true, false, false) => time.format("%Y").to_string(),
            (false, false, false) => String::new(),
        };
        let clock = match (has_hours, has_seconds) {
            (false, false) => String::new(),
            (_, true) => time.format("%H:%M:%S").to_string(),
            (true, false) => time.format("%H:%M").to_string(),
        };
        Some(format!("{date} {clock}").trim().to_owned())
    }

    fn number(&self, number: f64) -> String {
        if self.has(&FormatPart::Slash) {
            return general(number);
        }
        let has_digits = self.parts.iter().any(|part| matches!(part, FormatPart::Digit { .. }));
        if !has_digits {
            // A section with only a literal hides the number.
            let show = |part: &FormatPart| match part {
                FormatPart::Literal(text) => text.clone(),
                FormatPart::General => general(number.abs()),
                FormatPart::Percent => "%".to_owned(),
                _ => String::new(),
            };
            let sign = if number < 0.0 && self.has(&FormatPart::General) { "-" } else { "" };
            return sign.to_owned() + &self.parts.iter().map(show).collect::<String>();
        }
        Digits::of(&self.parts).shown(&self.parts, number)
    }
}

/// The digits of a format.
struct Digits {
    /// The positions of the first and the last digit before the point.
    first: usize,
    last: usize,
    point: Option<usize>,
    decimals_max: usize,
    /// Number of decimals that are always shown.
    decimals_min: usize,
    has_thousands: bool,
    /// Number of commas after the digits. Each divides the number by 1,000.
    scale: i32,
    percents: i32,
    exponent: Option<usize>,
}

impl Digits {
    fn of(parts: &[FormatPart]) -> Digits {
        let exponent = parts.iter().position(|part| *part == FormatPart::Exponent);
        let mantissa = &parts[..exponent.unwrap_or(parts.len())];
        let point = mantissa.iter().position(|part| *part == FormatPart::Point);
        let is_digit = |part: &FormatPart| matches!(part, FormatPart::Digit { .. });
        let whole = &mantissa[..point.unwrap_or(mantissa.len())];
        let first = whole.iter().position(is_digit).unwrap_or(whole.len());
        let last = whole.iter().rposition(is_digit).unwrap_or(first);
        let decimals = || mantissa[point.unwrap_or(mantissa.len())..].iter().filter(|part| is_digit(part));
        let is_shown = |part: &&FormatPart| **part == FormatPart::Digit { is_shown: true };
        let all = mantissa.iter().rposition(is_digit).unwrap_or(0);
        let commas = |parts: &[FormatPart]| parts.iter().filter(|part| **part == FormatPart::Comma).count();
        Digits {
            first,
            last,
            point,
            decimals_max: decimals().count().min(DECIMALS_MAX),
            decimals_min: decimals().filter(is_shown).count().min(DECIMALS_MAX),
            has_thousands: first < last && commas(&whole[first..last]) > 0,
            scale: i32::try_from(commas(&mantissa[all..])).unwrap_or(0),
            percents: i32::try_from(parts.iter().filter(|part| **part == FormatPart::Percent).count())
                .unwrap_or(0),
            exponent,
        }
    }

    fn shown(&self, parts: &[FormatPart], number: f64) -> String {
        let mut number = number * 100f64.powi(self.percents) / 1000f64.powi(self.scale);
        let mut power = 0;
        if self.exponent.is_some() && number != 0.0 {
            #[allow(clippy::cast_possible_truncation)] // At most 308.
            let exponent = number.abs().log10().floor() as i32;
            power = exponent;
            number /= 10f64.powi(exponent);
        }
        let rounded = rounded(number.abs(), self.decimals_max);
        let (whole, decimals) = rounded.split_once('.').unwrap_or((&rounded, ""));
        let is_zero = !rounded.contains(|c: char| ('1'..='9').contains(&c));
        let mut shown = String::new();
        if number < 0.0 && !is_zero {
            shown.push('-');
        }
        let decimals = &decimals[..self.decimals_kept(decimals)];
        let mut decimals_left = decimals.chars();
        let whole = self.whole(parts, if whole == "0" { "" } else { whole });
        for (at, part) in parts.iter().enumerate() {
            // The other places of the whole number must not reach the arms below.
            #[allow(clippy::collapsible_match)]
            match part {
                _ if (self.first..=self.last).contains(&at) && self.point.is_none_or(|point| at < point) => {
                    if at == self.first {
                        shown.push_str(&whole);
                    }
                }
                FormatPart::Point if Some(at) == self.point => {
                    if self.first > at {
                        shown.push_str(&whole);
                    }
                    if !decimals.is_empty() {
                        shown.push('.');
                    }
                }
                FormatPart::Digit { .. } if self.exponent.is_none_or(|exponent| at < exponent) => {
                    shown.extend(decimals_left.next());
                }
                FormatPart::Literal(text) => shown.push_str(text),
                FormatPart::Percent => shown.push('%'),
                FormatPart::Exponent => {
                    let width =
                        parts[at..].iter().filter(|part| matches!(part, FormatPart::Digit { .. })).count();
                    let sign = if power < 0 { '-' } else { '+' };
                    shown.push_str(&format!("E{sign}{:0width$}", power.abs()));
                }
                _ => {}
            }
        }
        shown
    }

    /// Returns how many of these decimals are shown.
    fn decimals_kept(&self, decimals: &str) -> usize {
        decimals.trim_end_matches('0').len().max(self.decimals_min.min(decimals.len()))
    }

    /// Fills the digits before the point from the right. Literals between them stay, as in `000-0000`.
    fn whole(&self, parts: &[FormatPart], digits: &str) -> String {
        let mut left = digits.chars().rev();
        let mut shown: Vec<char> = Vec::new();
        let mut count = 0;
        let mut push = |shown: &mut Vec<char>, digit: char| {
            if self.has_thousands && count > 0 && count % 3 == 0 {
                shown.push(',');
            }
            shown.push(digit);
            count += 1;
        };
        let end = if self.first < parts.len() { self.last + 1 } else { self.first };
        for part in parts[self.first.min(end)..end].iter().rev() {
            match part {
                FormatPart::Digit { is_shown } => match left.next() {
                    Some(digit) => push(&mut shown, digit),
                    None if *is_shown => push(&mut shown, '0'),
                    None => {}
                },
                FormatPart::Literal(text) => shown.extend(text.chars().rev()),
                _ => {}
            }
        }
        left.for_each(|digit| push(&mut shown, digit));
        shown.into_iter().rev().collect()
    }
}

/// Returns a positive number with this many decimals. A number that is written with a 5 after them is rounded up, although its
/// double may be a little smaller.
fn rounded(number: f64, decimals: usize) -> String {
    let written = format!("{number}");
    let (whole, fraction) = written.split_once('.').unwrap_or((&written, ""));
    if number >= 1e15 || fraction.len() <= decimals || !fraction.is_char_boundary(decimals) {
        return format!("{number:.decimals$}");
    }
    if fraction.as_bytes()[decimals] != b'5' {
        return format!("{number:.decimals$}");
    }
    // Adds one to the last digit that is kept.
    let mut digits: Vec<u8> = format!("0{whole}{}", &fraction[..decimals]).into_bytes();
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            break;
        }
        *digit = b'0';
    }
    let digits = String::from_utf8_lossy(&digits).into_owned();
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    if decimals == 0 { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

/// Returns a number in the format `General`, which shows what was typed.
pub fn general(number: f64) -> String {
    let exact = format!("{number:.*e}", GENERAL_DIGITS - 1);
    let number: f64 = exact.parse().unwrap_or(number);
    match number.abs() {
        0.0 => "0".to_owned(),
        size if !(1e-9..1e15).contains(&size) => format!("{number:E}"),
        _ => format!("{number}"),
    }
}

/// Returns a date and time as days since the first day of a workbook. Returns `None` if there is no such date.
fn date_time(days: f64, is_1904: bool) -> Option<NaiveDateTime> {
    let days = if is_1904 { days + DAYS_OF_1904 } else { days };
    // 9999-12-31 is the last day.
    if !(0.0..2_958_466.0).contains(&days) {
        return None;
    }
    // In 1900, spreadsheets have a day too many, the 29th of February.
    let days = if days < 60.0 && !is_1904 { days + 1.0 } else { days };
    #[allow(clippy::cast_possible_truncation)] // Below 2^53 by the bounds above.
    let seconds = (days * DAY_SECONDS as f64).round() as i64;
    Some(DateTime::from_timestamp(seconds - EPOCH_SECONDS, 0)?.naive_utc())
}

/// Returns a time that may be longer than a day.
fn elapsed(days: f64) -> String {
    let sign = if days < 0.0 { "-" } else { "" };
    #[allow(clippy::cast_possible_truncation)] // Saturates.
    let seconds = (days.abs() * DAY_SECONDS as f64).round() as i64;
    format!("{sign}{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Returns a date or time whose format is not known.
pub fn any_time(days: f64, is_elapsed: bool, is_1904: bool) -> String {
    if is_elapsed {
        return elapsed(days);
    }
    let code = match days {
        days if days < 1.0 => "h:mm:ss",
        days if days.fract() == 0.0 => "yyyy-mm-dd",
        _ => "yyyy-mm-dd h:mm:ss",
    };
    NumberFormat::parse(code).shown(days, is_1904)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_by_their_formats() {
        for (code, number, expected) in [
            ("General", 0.1 + 0.2, "0.3"),
            ("General", 1234567.0, "1234567"),
            ("General", -1.5, "-1.5"),
            ("General", 1e20, "1E20"),
            ("0", 2.5, "3"),
            ("0.00", 1.005, "1.01"),
            ("0.00", 0.295, "0.30"),
            ("0.0", 9.95, "10.0"),
            ("#,##0", 1234567.4, "1,234,567"),
            ("#,##0.00", 1234.5, "1,234.50"),
            ("#,##0.00", 0.0, "0.00"),
            ("#.##", 0.5, ".5"),
            ("0.##", 2.0, "2"),
            ("0%", 0.25, "25%"),
            ("0.0%", -0.125, "-12.5%"),
            ("\"$\"#,##0.00", 12.5, "$12.50"),
            ("[$€-407] #,##0.00", 12.5, "€ 12.50"),
            ("#,##0.00\\ \"€\"", -3.0, "-3.00 €"),
            ("_($* #,##0.00_);_($* (#,##0.00);_($* \"-\"??_);_(@_)", -1234.5, "$ (1,234.50)"),
            ("_($* #,##0.00_);_($* (#,##0.00);_($* \"-\"??_);_(@_)", 0.0, "$ -"),
            ("#,##0;[Red]-#,##0", -5.0, "-5"),
            ("0;-0;;@", 0.0, ""),
            ("[<1]0.00;0", 0.5, "0.50"),
            ("[<1]0.00;0", 7.0, "7"),
            ("00000", 42.0, "00042"),
            ("000-0000", 5551234.0, "555-1234"),
            ("0.00E+00", 12345.0, "1.23E+04"),
            ("# ?/?", 0.5, "0.5"),
            ("#,##0.0,,\" M\"", 12_345_678.0, "12.3 M"),
            ("@", 7.0, "7"),
            ("0.0", -0.04, "0.0"),
            ("\"n. \"0", 3.0, "n. 3"),
        ] {
            assert_eq!(NumberFormat::parse(code).shown(number, false), expected, "{code} of {number}");
        }
    }

    #[test]
    fn dates_and_times_are_shown_in_one_order() {
        for (code, number, expected) in [
            ("mm-dd-yy", 46083.0, "2026-03-02"),
            ("d. mmmm yyyy", 46083.75, "2026-03-02"),
            ("[$-409]mmm-yy", 46083.0, "2026-03"),
            ("dddd", 46083.0, "2026-03-02"),
            ("yyyy", 46083.0, "2026"),
            ("h:mm AM/PM", 0.75, "18:00"),
            ("h:mm:ss", 0.75, "18:00:00"),
            ("mm:ss", 0.5 / 24.0, "00:30:00"),
            ("m/d/yy h:mm", 46083.34375, "2026-03-02 08:15"),
            ("[h]:mm:ss", 1.5, "36:00:00"),
            ("yyyy\"年\"m\"月\"d\"日\"", 46083.0, "2026-03-02"),
            ("yyyy-mm-dd", 1.0, "1900-01-01"),
            ("yyyy-mm-dd", 61.0, "1900-03-01"),
            ("yyyy-mm-dd", -1.0, "-1"),
            ("yyyy-mm-dd", 1e300, "1E300"),
        ] {
            assert_eq!(NumberFormat::parse(code).shown(number, false), expected, "{code} of {number}");
        }
        assert_eq!(NumberFormat::parse("yyyy-mm-dd").shown(44621.0, true), "2026-03-02");
        assert_eq!(any_time(46083.5, false, false), "2026-03-02 12:00:00");
    }

    #[test]
    fn a_damaged_format_shows_a_number() {
        for code in [
            "",
            "\"",
            "[",
            "\\",
            "_",
            "*",
            ";;;;",
            "[h",
            "%%%%",
            "0.0.0",
            "E+",
            ",,,,",
            "[<]0",
            "#".repeat(9000).as_str(),
        ] {
            for number in [0.0, -1.5, 1e308, f64::MIN_POSITIVE, f64::NAN, f64::INFINITY] {
                NumberFormat::parse(code).shown(number, false);
            }
        }
    }
}
