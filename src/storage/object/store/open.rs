//! Opens a bucket of S3, Google Cloud Storage or Azure, with the credentials and settings of the environment.

use std::env;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::HttpConnector;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientConfigKey, RetryConfig};

use super::super::url::{Scheme, Url};
use super::bucket::{Backend, Conditions, Store};
use super::connection::{Connection, Connector, PATIENCE};
use super::errors;
use crate::console::Reporter;
use crate::error::Usage;

/// The most retries per request. The pauses between retries grow to 15 seconds, so a request always reaches the time limit
/// [`PATIENCE`] first.
const RETRIES_MAX: usize = 1000;

/// The printable ASCII characters that a URL must not contain (RFC 3986).
const INVALID_IN_URLS: &[u8] = b"\"<>\\^`{|}";

/// Environment variables with the endpoint of S3.
const S3_ENDPOINT_VARIABLES: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];

impl Store {
    /// Opens the bucket of a URL, but sends no request yet.
    pub fn open(url: &Url, endpoint: Option<&str>, reporter: Arc<Reporter>) -> anyhow::Result<Self> {
        check_endpoints(endpoint, url.scheme)?;
        let connection = Arc::new(Connection::new(reporter));
        let connector = Connector(connection.clone());
        let backend = match url.scheme {
            Scheme::S3 => open_s3(&url.bucket, endpoint, connector),
            Scheme::Google => open_google(&url.bucket, endpoint, connector),
            Scheme::Azure => open_azure(&url.bucket, endpoint, connector),
        };
        let backend = backend.map_err(|e| errors::not_opened(url, &e))?;
        Store::new(url.scheme, backend, connection)
    }
}

fn open_s3(
    bucket: &str,
    endpoint: Option<&str>,
    connector: impl HttpConnector,
) -> object_store::Result<Backend> {
    let mut builder = AmazonS3Builder::from_env().with_url(bucket);
    if let Some(endpoint) = endpoint {
        // The key `S3Endpoint` takes precedence over the key `Endpoint`, which the environment may have set.
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    let from_env = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let from_env = from_env.iter().find_map(|key| builder.get_config_value(key));
    if endpoint.or(from_env.as_deref()).is_some_and(is_unencrypted) {
        builder = builder.with_allow_http(true);
    }
    let conditional_put = builder.get_config_value(&AmazonS3ConfigKey::ConditionalPut);
    let conditions = match conditional_put.as_deref() {
        Some("disabled") => Conditions::None,
        _ => Conditions::PutAndParts,
    };
    let store = Arc::new(builder.with_retry(retries()).with_http_connector(connector).build()?);
    Ok(Backend::new(store, conditions))
}

fn open_google(
    bucket: &str,
    endpoint: Option<&str>,
    connector: impl HttpConnector,
) -> object_store::Result<Backend> {
    let mut builder = GoogleCloudStorageBuilder::from_env().with_url(bucket);
    if let Some(endpoint) = endpoint {
        let allow_http = GoogleConfigKey::Client(ClientConfigKey::AllowHttp);
        builder =
            builder.with_base_url(endpoint).with_config(allow_http, is_unencrypted(endpoint).to_string());
    }
    let store = Arc::new(builder.with_retry(retries()).with_http_connector(connector).build()?);
    Ok(Backend::new(store, Conditions::Put))
}

fn open_azure(
    bucket: &str,
    endpoint: Option<&str>,
    connector: impl HttpConnector,
) -> object_store::Result<Backend> {
    let mut builder = MicrosoftAzureBuilder::from_env().with_url(bucket);
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint.to_owned()).with_allow_http(is_unencrypted(endpoint));
    }
    let store = Arc::new(builder.with_retry(retries()).with_http_connector(connector).build()?);
    Ok(Backend::new(store, Conditions::Put))
}

/// Refuses an endpoint that is not a valid URL, because object_store would panic on such an endpoint. The message leaves out the
/// endpoint, because it may contain a password.
fn check_endpoints(endpoint: Option<&str>, scheme: Scheme) -> Result<(), Usage> {
    let variables = if scheme == Scheme::S3 { &S3_ENDPOINT_VARIABLES[..] } else { &[] };
    let from_env = variables.iter().filter_map(|&name| Some((name, env::var(name).ok()?)));
    let option = endpoint.map(|value| ("endpoint", value.to_owned()));
    for (name, value) in option.into_iter().chain(from_env) {
        if !is_http_url(&value) {
            return Err(Usage(format!("{name}: is not a URL; write it as http://host:port or https://host")));
        }
    }
    Ok(())
}

/// Returns whether an endpoint is a URL that stays valid when object_store adds a path to it.
fn is_http_url(endpoint: &str) -> bool {
    let has_scheme = endpoint.starts_with("http://") || endpoint.starts_with("https://");
    let is_url = has_scheme && url::Url::parse(endpoint).is_ok();
    is_url && endpoint.bytes().all(|byte| byte.is_ascii_graphic() && !INVALID_IN_URLS.contains(&byte))
}

fn is_unencrypted(endpoint: &str) -> bool {
    endpoint.starts_with("http://")
}

fn retries() -> RetryConfig {
    RetryConfig { max_retries: RETRIES_MAX, retry_timeout: PATIENCE, ..RetryConfig::default() }
}
