//! What the clients of the hub, of object storage and of Qdrant share: certificates, proxies, the user agent and retries. All requests of this program
//! are sent with the library ureq.

mod proxy;
mod retry;

pub use proxy::EndpointProxy;
pub use retry::{Pauses, is_transient, is_transient_status, retry_after};

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

/// Returns the settings of a client that sends its requests through `proxy`, if any. The caller adds the time limits.
pub fn client(proxy: Option<&EndpointProxy>) -> ConfigBuilder<AgentScope> {
    // The certificates of the system include the certificate of a company's firewall, if there is one.
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    Agent::config_builder()
        .http_status_as_error(false)
        .tls_config(tls)
        .proxy(proxy.map(|proxy| proxy.proxy.clone()))
        .user_agent(concat!("qwen3-index/", env!("CARGO_PKG_VERSION")))
}
