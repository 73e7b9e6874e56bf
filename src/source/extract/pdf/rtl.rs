//! Right-to-left scripts: glyphs are drawn from left to right, and the line is
//! turned to the order in which it is read.

/// Puts a line of drawn characters into reading order. Returns `None` where it
/// holds no right-to-left script, and so is in order.
pub fn logical(line: &str) -> Option<String> {
    let right = line.chars().filter(|c| is_rtl(*c)).count();
    if right == 0 {
        return None;
    }
    let left = line.chars().filter(|c| is_ltr(*c) && c.is_alphabetic()).count();
    let mut chars: Vec<char> = line.chars().collect();
    if right >= left {
        reverse(&mut chars);
        reverse_runs(&mut chars, is_ltr, is_rtl);
    } else {
        reverse_runs(&mut chars, is_rtl, is_ltr);
    }
    Some(chars.into_iter().collect())
}

/// Reverses each stretch from the first to the last character of a script that
/// is not broken by a character of the other.
fn reverse_runs(chars: &mut [char], inside: fn(char) -> bool, outside: fn(char) -> bool) {
    let mut start = 0;
    while let Some(from) = chars[start..].iter().position(|c| inside(*c)).map(|at| start + at) {
        let stop = chars[from..].iter().position(|c| outside(*c)).map_or(chars.len(), |at| from + at);
        let to = chars[from..stop].iter().rposition(|c| inside(*c)).map_or(stop, |at| from + at + 1);
        reverse(&mut chars[from..to]);
        start = to;
    }
}

/// Reverses characters; brackets change their side with it.
fn reverse(chars: &mut [char]) {
    chars.reverse();
    for c in chars {
        *c = mirrored(*c);
    }
}

fn mirrored(c: char) -> char {
    match c {
        '(' => ')',
        ')' => '(',
        '[' => ']',
        ']' => '[',
        '{' => '}',
        '}' => '{',
        '<' => '>',
        '>' => '<',
        '«' => '»',
        '»' => '«',
        other => other,
    }
}

/// Hebrew, Arabic, Syriac, Thaana, `NKo` and their presentation forms, without
/// digits.
fn is_rtl(c: char) -> bool {
    let digit = matches!(c, '\u{660}'..='\u{669}' | '\u{6F0}'..='\u{6F9}');
    !digit && matches!(c, '\u{590}'..='\u{8FF}' | '\u{FB1D}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}')
}

/// Whatever runs from left to right, digits among it.
fn is_ltr(c: char) -> bool {
    c.is_alphanumeric() && !is_rtl(c)
}

#[cfg(test)]
mod tests {
    use super::logical;

    #[test]
    fn turns_lines() {
        assert_eq!(logical("plain (text)"), None);
        assert_eq!(logical("(דה) 12 גבא").as_deref(), Some("אבג 12 (הד)"));
        assert_eq!(logical("one גבא two").as_deref(), Some("one אבג two"));
    }
}
