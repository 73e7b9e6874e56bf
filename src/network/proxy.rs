//! Chooses the proxy of a server from the environment, by the rules of curl and Python's clients: the variable for
//! the scheme of the URL overrides `ALL_PROXY`, and a variable in lower case overrides the same variable in upper case. ureq
//! itself would prefer `ALL_PROXY`.

use std::env;
use std::fmt;

use anyhow::anyhow;
use ureq::Proxy;
use ureq::http::Uri;

use crate::console::debug;

const HTTPS_VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const HTTP_VARIABLES: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
const EXCEPTION_VARIABLES: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// A proxy, and the environment variable that names the proxy.
pub struct EndpointProxy {
    pub proxy: Proxy,
    pub variable: &'static str,
    /// `false` if `NO_PROXY` lists the endpoint's host. Other hosts, to which the endpoint redirects, may still need the proxy.
    pub is_for_endpoint: bool,
}

impl EndpointProxy {
    /// Returns the proxy for the scheme of an endpoint; `None` if no variable names a proxy. This function assumes that a
    /// redirect does not change the scheme.
    ///
    /// # Errors
    /// The value of the variable is not the address of a proxy.
    pub fn from_environment(endpoint: &str) -> anyhow::Result<Option<Self>> {
        let variables = if endpoint.starts_with("http:") { HTTP_VARIABLES } else { HTTPS_VARIABLES };
        let Some((variable, address)) = first_set(&variables) else {
            debug(|| {
                format!("requests to {endpoint}: no proxy, because {} are not set", variables.join(", "))
            });
            return Ok(None);
        };
        let exceptions = first_set(&EXCEPTION_VARIABLES).map_or(String::new(), |(_, hosts)| hosts);
        let proxy = Proxy::new(&address).and_then(|proxy| with_exceptions(&proxy, &exceptions));
        // The message leaves out the address, because the address may contain a password.
        let proxy = proxy.map_err(|_| {
            anyhow!("{variable}: is not the address of a proxy; write it as http://HOST:PORT")
        })?;
        let is_for_endpoint = !endpoint.parse().is_ok_and(|uri: Uri| proxy.is_no_proxy(&uri));
        let proxy = EndpointProxy { proxy, variable, is_for_endpoint };
        debug(|| {
            let except = if is_for_endpoint { "" } else { ", but NO_PROXY lists this host" };
            format!("requests to {endpoint}: {proxy}{except}")
        });
        Ok(Some(proxy))
    }
}

impl fmt::Display for EndpointProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy {}:{} of {}", self.proxy.host(), self.proxy.port(), self.variable)
    }
}

/// Returns a copy of the proxy with exceptions: requests to `hosts` and their subdomains do not use the proxy. Commas or spaces
/// separate the hosts.
fn with_exceptions(proxy: &Proxy, hosts: &str) -> Result<Proxy, ureq::Error> {
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

/// Returns the first variable that is set and not empty, with its value.
fn first_set(variables: &[&'static str]) -> Option<(&'static str, String)> {
    variables.iter().find_map(|&variable| {
        let value = env::var_os(variable).filter(|value| !value.is_empty())?;
        Some((variable, value.to_string_lossy().into_owned()))
    })
}
