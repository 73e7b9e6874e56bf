//! What the clients of the hub, of object storage and of Qdrant share: certificates, proxies, the user agent and retries. All requests of this program
//! are sent with the library ureq.

mod proxy;
mod retry;

pub use proxy::EndpointProxy;
pub use retry::{Pauses, is_transient, is_transient_status, retry_after};

use std::time::Duration;

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

/// Returns the settings of a client that sends its requests through `proxy`, if any. `connect` limits the time for opening a
/// connection. `wait` limits each wait for the other side: for the start of an answer, for every further piece of the answer, and
/// until it takes a piece of a request.
pub fn client(proxy: Option<&EndpointProxy>, connect: Duration, wait: Duration) -> ConfigBuilder<AgentScope> {
    // The certificates of the system include the certificate of a company's firewall, if there is one.
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    Agent::config_builder()
        .http_status_as_error(false)
        .tls_config(tls)
        .proxy(proxy.map(|proxy| proxy.proxy.clone()))
        .user_agent(concat!("qwen3-index/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(connect))
        .timeout_recv_response(Some(wait))
        .timeout_per_read(Some(wait))
        .timeout_per_write(Some(wait))
}
