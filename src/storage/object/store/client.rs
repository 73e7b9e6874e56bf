//! Makes the HTTP client for a store. The client of object_store follows redirects to any host, and sends the security token of
//! S3 there. This client follows none, so `Connection` can decide what another host may see.

use std::time::Duration;

use object_store::{ClientConfigKey, ClientOptions, Error};
use reqwest::redirect::Policy;
use reqwest::tls::Certificate;
use reqwest::{Client, NoProxy, Proxy};

/// Makes a client with these options of object_store: user agent, time limits, proxy, certificates, and whether HTTP without
/// encryption is allowed.
///
/// # Errors
/// An option is not valid.
pub fn client(options: &ClientOptions) -> object_store::Result<Client> {
    build(options).map_err(|e| Error::Generic { store: "HTTP client", source: e.into() })
}

fn build(options: &ClientOptions) -> reqwest::Result<Client> {
    let text = |key| options.get_config_value(&key);
    let is_on = |key| text(key).is_some_and(|value| is_true(&value));
    let seconds = |key| text(key).and_then(|value| value.strip_suffix('s')?.parse().ok());
    let mut builder = Client::builder().redirect(Policy::none());
    if let Some(user_agent) = text(ClientConfigKey::UserAgent) {
        builder = builder.user_agent(user_agent);
    }
    if let Some(seconds) = seconds(ClientConfigKey::ConnectTimeout) {
        builder = builder.connect_timeout(Duration::from_secs(seconds));
    }
    if let Some(seconds) = seconds(ClientConfigKey::ReadTimeout) {
        builder = builder.read_timeout(Duration::from_secs(seconds));
    }
    if let Some(seconds) = seconds(ClientConfigKey::Timeout) {
        builder = builder.timeout(Duration::from_secs(seconds));
    }
    if let Some(url) = text(ClientConfigKey::ProxyUrl) {
        let mut proxy = Proxy::all(url)?;
        if let Some(excludes) = text(ClientConfigKey::ProxyExcludes) {
            proxy = proxy.no_proxy(NoProxy::from_string(&excludes));
        }
        builder = builder.proxy(proxy);
    }
    if let Some(certificate) = text(ClientConfigKey::ProxyCaCertificate) {
        builder = builder.tls_certs_merge([Certificate::from_pem(certificate.as_bytes())?]);
    }
    if is_on(ClientConfigKey::Http1Only) {
        builder = builder.http1_only();
    }
    let accepts_invalid = is_on(ClientConfigKey::AllowInvalidCertificates);
    builder
        .danger_accept_invalid_certs(accepts_invalid)
        .https_only(!is_on(ClientConfigKey::AllowHttp))
        .build()
}

/// Returns whether a value means `true` to object_store.
fn is_true(value: &str) -> bool {
    ["1", "true", "on", "yes", "y"].contains(&value.to_ascii_lowercase().as_str())
}
