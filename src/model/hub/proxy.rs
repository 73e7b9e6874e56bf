//! The proxy that requests go through, named by the environment as curl and Python's clients read it: by the scheme of the
//! address, and `ALL_PROXY` for the rest. ureq alone would take `ALL_PROXY` before the others, for addresses of any scheme.

use std::env;
use std::fmt;

use anyhow::anyhow;
use ureq::Proxy;
use ureq::http::Uri;

const OF_HTTPS: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const OF_HTTP: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
const NOT_FOR: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// A proxy, and who has named it.
pub struct Through {
    pub proxy: Proxy,
    pub variable: &'static str,
    /// Unless `NO_PROXY` says that the endpoint is reached without it, though what it redirects to may not be.
    pub is_for_endpoint: bool,
}

impl Through {
    /// What an endpoint redirects to is taken to be of its scheme.
    pub fn from_environment(endpoint: &str) -> anyhow::Result<Option<Self>> {
        let variables = if endpoint.starts_with("http:") { OF_HTTP } else { OF_HTTPS };
        let Some((variable, value)) = first(&variables) else { return Ok(None) };
        let not_for = first(&NOT_FOR).map_or(String::new(), |(_, hosts)| hosts);
        // What it says is not shown: there may be a password in it.
        let proxy = Proxy::new(&value).and_then(|proxy| without(&proxy, &not_for));
        let proxy = proxy
            .map_err(|_| anyhow!("{variable}: is no address of a proxy; write it as http://HOST:PORT"))?;
        let is_for_endpoint = !endpoint.parse().is_ok_and(|uri: Uri| proxy.is_no_proxy(&uri));
        Ok(Some(Through { proxy, variable, is_for_endpoint }))
    }
}

impl fmt::Display for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy {}:{} of {}", self.proxy.host(), self.proxy.port(), self.variable)
    }
}

/// The proxy, but not for some hosts and what is below them.
fn without(proxy: &Proxy, hosts: &str) -> Result<Proxy, ureq::Error> {
    let mut builder = Proxy::builder(proxy.protocol()).host(proxy.host()).port(proxy.port());
    if let Some(name) = proxy.username() {
        builder = builder.username(name);
    }
    if let Some(password) = proxy.password() {
        builder = builder.password(password);
    }
    for host in hosts.split([',', ' ']).filter(|host| !host.is_empty()) {
        builder = match host.trim_start_matches(['*', '.']) {
            "" => builder.no_proxy(host),
            name => builder.no_proxy(name).no_proxy(&format!(".{name}")),
        };
    }
    builder.build()
}

/// The first variable that says something.
fn first(variables: &[&'static str]) -> Option<(&'static str, String)> {
    variables.iter().find_map(|&variable| {
        let value = env::var_os(variable).filter(|value| !value.is_empty())?;
        Some((variable, value.to_string_lossy().into_owned()))
    })
}
