//! Hides passwords, tokens and signatures in the URLs of a text.

use std::borrow::Cow;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// Parts of the names of query parameters that have a secret as their value, in lower case: those of signed URLs of S3, Google
/// Cloud Storage and Azure, and usual names of tokens and passwords.
const SECRET_NAMES: [&str; 8] =
    ["signature", "credential", "token", "secret", "password", "accesskey", "access_key", "api_key"];

/// The name of the query parameter with the signature in a signed URL of Azure.
const AZURE_SIGNATURE: &str = "sig";

/// Returns the text with `***` in place of user and password, and of secret query parameters, in each URL.
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let ends_url = |c: char| c.is_whitespace() || c.is_control() || "\"'`<>".contains(c);
        let url = &after[..after.find(ends_url).unwrap_or(after.len())];
        push_url(&mut shown, is_azure(&before[..at]), url);
        rest = &after[url.len()..];
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// Returns whether a query parameter has a secret as its value.
pub fn is_secret_parameter(name: &str) -> bool {
    let name = name.to_lowercase();
    name == AZURE_SIGNATURE || SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// Returns whether a text ends with a scheme of Azure. `abfss://container@account` has a container before the `@`.
fn is_azure(before: &str) -> bool {
    ["az", "abfs", "abfss"].iter().any(|scheme| before.ends_with(scheme))
}

/// Adds a URL without its scheme.
fn push_url(shown: &mut String, is_azure: bool, url: &str) {
    let authority = &url[..url.find(['/', '?', '#']).unwrap_or(url.len())];
    // A password with a `/` that is not percent-encoded ends what looks like the authority, and no port follows the `:`.
    let is_cut = authority.rsplit_once(':').is_some_and(|(host, port)| {
        !host.starts_with('[') && !port.is_empty() && !port.bytes().all(|byte| byte.is_ascii_digit())
    });
    let at = authority.rfind('@').or_else(|| url.rfind('@').filter(|_| is_cut));
    let user = at.map_or("", |at| &url[..at]);
    let url = match at {
        Some(at) if !is_azure || user.contains(':') => {
            shown.push_str(HIDDEN);
            &url[at..]
        }
        _ => url,
    };
    let Some((path, query)) = url.split_once('?') else { return shown.push_str(url) };
    shown.push_str(path);
    let (query, fragment) = query.split_at(query.find('#').unwrap_or(query.len()));
    for (number, parameter) in query.split('&').enumerate() {
        shown.push(if number == 0 { '?' } else { '&' });
        match parameter.split_once('=').filter(|(name, _)| is_secret_parameter(name)) {
            Some((name, value)) => {
                shown.push_str(name);
                shown.push('=');
                shown.push_str(HIDDEN);
                // In a message, punctuation may follow the URL.
                shown.push_str(&value[value.trim_end_matches([':', ';', ',', '.', ')']).len()..]);
            }
            None => shown.push_str(parameter),
        }
    }
    shown.push_str(fragment);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden() {
        for (url, shown) in [
            ("http://me:pass@host:9000/path", "http://***@host:9000/path"),
            ("https://token@host", "https://***@host"),
            ("http://me:pa/ss@host/path", "http://***@host/path"),
            ("http://me:p@ss@host/path", "http://***@host/path"),
            ("abfss://me:pass@account/path", "abfss://***@account/path"),
            (
                "https://host/a?X-Amz-Date=1&X-Amz-Signature=ab12#c",
                "https://host/a?X-Amz-Date=1&X-Amz-Signature=***#c",
            ),
            ("az://container/a?sv=1&sig=ab%2F", "az://container/a?sv=1&sig=***"),
        ] {
            assert_eq!(without_secrets(url), shown);
            let (in_text, shown) = (
                format!("input {url}: nothing, as `{url}`"),
                format!("input {shown}: nothing, as `{shown}`"),
            );
            assert_eq!(without_secrets(&in_text), shown);
        }
    }

    #[test]
    fn other_texts_stay_as_they_are() {
        for text in [
            "no URL: me@host?token=1",
            "https://host:8080/@scope/package?id=3&design=4#part",
            "abfss://container@account.dfs.core.windows.net/path",
            "http://[::1]:9000/a@b",
            "s3://bucket/me@host",
        ] {
            assert_eq!(without_secrets(text), text);
        }
    }
}
