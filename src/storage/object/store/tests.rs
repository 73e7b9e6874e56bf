//! Tests the real object_store against a fake server, which sends the same answers as the stores. The error texts of
//! object_store must stay in the form that `errors` parses, and a condition must reach the request that completes its upload.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use async_trait::async_trait;
use futures_util::stream::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::list::PaginatedListStore;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{ClientOptions, Error, HeaderValue, ObjectStore, ObjectStoreExt, PutMode, RetryConfig};

use super::super::url::{Scheme, Url, Version};
use super::bucket::{BLOCK_BYTES, Backend, Conditions, Store};
use super::connection::{Connection, Service};
use super::errors;
use super::read::Reader;
use crate::console::{LogFormat, Reporter};
use crate::error::RequestFailure;

type Answered = Result<HttpResponse, HttpError>;

/// A client that calls a function to get the answer to each request.
#[derive(Clone)]
struct FakeServer(Arc<dyn Fn(&HttpRequest) -> Answered + Send + Sync>);

impl fmt::Debug for FakeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeServer")
    }
}

#[async_trait]
impl HttpService for FakeServer {
    async fn call(&self, request: HttpRequest) -> Answered {
        (self.0)(&request)
    }
}

#[derive(Debug)]
struct FakeConnector(HttpClient);

impl HttpConnector for FakeConnector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.0.clone())
    }
}

fn server(answer: impl Fn(&HttpRequest) -> Answered + Send + Sync + 'static) -> FakeConnector {
    FakeConnector(HttpClient::new(FakeServer(Arc::new(answer))))
}

/// A client that gives every request the same answer.
fn always(status: u16, body: &'static str) -> FakeConnector {
    server(move |_| Ok(answer(status, body)))
}

fn answer(status: u16, body: &str) -> HttpResponse {
    let mut answer = HttpResponse::new(body.as_bytes().to_vec().into());
    *answer.status_mut() = status.try_into().unwrap();
    answer
}

fn once() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

fn s3_without_credentials(connector: FakeConnector) -> AmazonS3Builder {
    let builder = AmazonS3Builder::new().with_bucket_name("bucket").with_region("us-east-1");
    let builder = builder.with_endpoint("http://store.test").with_allow_http(true);
    builder.with_retry(once()).with_http_connector(connector)
}

fn s3(connector: FakeConnector) -> impl ObjectStore + MultipartStore + PaginatedListStore {
    let builder = s3_without_credentials(connector);
    builder.with_access_key_id("key").with_secret_access_key("secret").build().unwrap()
}

fn azure(connector: FakeConnector) -> impl ObjectStore {
    let builder = MicrosoftAzureBuilder::new().with_account("account").with_access_key("a2V5");
    let builder = builder.with_container_name("container").with_endpoint("http://store.test".to_owned());
    builder.with_allow_http(true).with_retry(once()).with_http_connector(connector).build().unwrap()
}

fn wait<T>(future: impl Future<Output = object_store::Result<T>>) -> object_store::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn get(store: &impl ObjectStore, key: &str) -> Error {
    wait(store.get(&Path::from(key))).unwrap_err()
}

fn list(store: &impl ObjectStore) -> Error {
    wait(store.list(None).try_collect::<Vec<_>>()).unwrap_err()
}

const NO_SUCH_KEY: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>docs/a.md</Key><RequestId>4442587FB7D0A2F9</RequestId></Error>"#;
const NO_SUCH_BUCKET: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message><BucketName>bucket</BucketName><RequestId>4442587FB7D0A2F9</RequestId></Error>"#;
const ACCESS_DENIED: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>AccessDenied</Code><Message>Access Denied</Message><RequestId>656c76696e6727732072657175657374</RequestId></Error>"#;
const WRONG_SIGNATURE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match the signature you provided. Check your key and signing method.</Message><RequestId>4442587FB7D0A2F9</RequestId></Error>"#;
const INVALID_RANGE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>InvalidRange</Code><Message>The requested range is not satisfiable</Message><ActualObjectSize>3</ActualObjectSize></Error>"#;
const PRECONDITION_FAILED: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>PreconditionFailed</Code><Message>At least one of the pre-conditions you specified did not hold</Message><Condition>If-Match</Condition></Error>"#;
const INTERNAL_ERROR: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>InternalError</Code><Message>We encountered an internal error. Please try again.</Message></Error>"#;
const NO_CONTAINER: &str = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>ContainerNotFound</Code><Message>The specified container does not exist.\nRequestId:6a8a3b8c-b01e-0041-6a1f-7b0000000000\nTime:2026-11-29T02:00:00.0000000Z</Message></Error>";

fn denied(reason: &str, whole_store: bool) -> RequestFailure {
    RequestFailure::Denied { reason: reason.to_owned(), whole_store }
}

fn other(reason: &str) -> RequestFailure {
    RequestFailure::Other { reason: reason.to_owned() }
}

#[test]
fn failures_of_single_objects_are_told_apart() {
    for (status, body, failure) in [
        (404, NO_SUCH_KEY, RequestFailure::NoObject),
        (404, "", RequestFailure::NoObject),
        (404, NO_SUCH_BUCKET, RequestFailure::NoBucket),
        (403, ACCESS_DENIED, denied("AccessDenied", false)),
        (403, WRONG_SIGNATURE, denied("SignatureDoesNotMatch", false)),
        (403, "", denied("the store answered 403 Forbidden", false)),
        (401, "", denied("the store answered 401 Unauthorized", true)),
        (416, INVALID_RANGE, RequestFailure::Changed),
        (412, PRECONDITION_FAILED, RequestFailure::Changed),
        (400, "no XML", other("the store answered 400 Bad Request")),
        (503, INTERNAL_ERROR, other("InternalError")),
        (503, "", other("the store answered 503 Service Unavailable")),
    ] {
        let error = get(&s3(always(status, body)), "docs/a.md");
        assert_eq!(RequestFailure::of(&error), failure, "{error}");
        assert!(!errors::is_cut(&error), "{error}");
    }
    let error = wait(s3(always(403, "")).head(&Path::from("docs/a.md"))).unwrap_err();
    assert_eq!(RequestFailure::of(&error), denied("the store answered 403 Forbidden", false), "{error}");
}

#[test]
fn failures_of_listings_are_told_apart() {
    for (status, body, failure) in [
        (404, NO_SUCH_BUCKET, RequestFailure::NoBucket),
        (403, ACCESS_DENIED, denied("AccessDenied", true)),
        (403, WRONG_SIGNATURE, denied("SignatureDoesNotMatch", true)),
        (403, "", denied("the store answered 403 Forbidden", true)),
    ] {
        let error = list(&s3(always(status, body)));
        assert_eq!(RequestFailure::of(&error), failure, "{error}");
    }
    let store = azure(always(404, NO_CONTAINER));
    for error in [list(&store), get(&store, "docs/a.md")] {
        assert_eq!(RequestFailure::of(&error), RequestFailure::NoBucket, "{error}");
    }
    let keys = "<ListBucketResult><Contents><Key>a//b</Key><Size>1</Size><LastModified>2026-11-29T02:00:00.000Z</LastModified></Contents></ListBucketResult>";
    let error = list(&s3(always(200, keys)));
    assert!(matches!(RequestFailure::of(&error), RequestFailure::InvalidKey(_)), "{error}");
}

#[test]
fn failures_of_writes_are_told_apart() {
    let key = Path::from("out.parquet");
    for (status, body, failure) in [
        (412, PRECONDITION_FAILED, RequestFailure::Changed),
        (403, ACCESS_DENIED, denied("AccessDenied", false)),
        (404, NO_SUCH_BUCKET, RequestFailure::NoBucket),
        // Only the answer to the completion of an upload can report an error with a success status.
        (200, INTERNAL_ERROR, other("InternalError")),
    ] {
        let store = s3(always(status, body));
        let part = PartId { content_id: "\"part\"".to_owned() };
        let error = wait(store.complete_multipart(&key, &"id".to_owned(), vec![part])).unwrap_err();
        assert_eq!(RequestFailure::of(&error), failure, "{error}");
        if status != 200 {
            let error = wait(store.put_opts(&key, "".into(), PutMode::Create.into())).unwrap_err();
            assert_eq!(RequestFailure::of(&error), failure, "{error}");
        }
    }
}

#[test]
fn words_of_errors_in_keys_and_hosts_mean_nothing() {
    for key in ["NoSuchBucket.md", "ContainerNotFound", "169.254.169.254", "status code: 403 .md"] {
        let error = get(&s3(always(404, NO_SUCH_KEY)), key);
        assert_eq!(RequestFailure::of(&error), RequestFailure::NoObject, "{error}");
    }
}

#[test]
fn a_machine_without_credentials_is_told_so() {
    // The machine is not in a cloud, or is in a cloud but has no role.
    let unreachable = |request: &HttpRequest| {
        assert_eq!(request.uri().host(), Some("169.254.169.254"));
        Err(HttpError::new(HttpErrorKind::Connect, io::Error::from(io::ErrorKind::ConnectionRefused)))
    };
    let no_role = |request: &HttpRequest| match request.method().as_str() {
        "PUT" => Ok(answer(200, "token")),
        _ => Ok(answer(404, "Not Found")),
    };
    for connector in [server(unreachable), server(no_role), always(403, "")] {
        let store = s3_without_credentials(connector).build().unwrap();
        for error in [get(&store, "docs/a.md"), list(&store)] {
            assert_eq!(RequestFailure::of(&error), RequestFailure::NoCredentials, "{error}");
        }
    }
}

#[test]
fn a_cut_connection_is_told_from_one_that_was_given_up() {
    for (kind, is_cut) in [
        (HttpErrorKind::Interrupted, true),
        (HttpErrorKind::Connect, true),
        (HttpErrorKind::Timeout, true),
        (HttpErrorKind::Unknown, false),
    ] {
        let store = s3(server(move |_| Err(HttpError::new(kind, io::Error::other("connection reset")))));
        for error in [get(&store, "docs/a.md"), list(&store)] {
            assert_eq!(RequestFailure::of(&error), other("connection reset"), "{error}");
            assert_eq!(errors::is_cut(&error), is_cut, "{error}");
        }
    }
}

/// Answers a request for an object. The ETag is the key of the object.
fn object(request: &HttpRequest) -> HttpResponse {
    let mut found = answer(200, "");
    for (name, value) in [
        ("etag", request.uri().path().rsplit('/').next().unwrap()),
        ("last-modified", "Sun, 29 Nov 2026 02:00:00 GMT"),
        ("content-length", "9"),
    ] {
        found.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    }
    found
}

/// Returns a store whose requests go to a fake server, through the same layer as all requests.
fn store(fake: FakeServer) -> Store {
    let connection = Arc::new(Connection::new(Arc::new(Reporter::new(true, LogFormat::Text))));
    let service = Service { client: HttpClient::new(fake), connection: connection.clone() };
    let objects = Arc::new(s3(FakeConnector(HttpClient::new(service))));
    Store::new(Scheme::S3, Backend::new(objects, Conditions::PutAndParts), connection).unwrap()
}

#[test]
fn two_uploads_at_once_have_their_own_conditions() {
    type Seen = Vec<(String, Option<HeaderValue>)>;
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let (seen_by_server, both_wait) = (seen.clone(), Barrier::new(2));
    let fake = FakeServer(Arc::new(move |request: &HttpRequest| {
        if request.method() != "POST" {
            return Ok(object(request));
        }
        let condition = request.headers().get("if-match").cloned();
        seen_by_server.lock().unwrap().push((request.uri().path().to_owned(), condition));
        both_wait.wait();
        Ok(answer(200, "<CompleteMultipartUploadResult><ETag>new</ETag></CompleteMultipartUploadResult>"))
    }));
    let store = store(fake);
    // These ids are percent-encoded in a query, so the query does not contain the ids themselves.
    let uploads = [("one", "1/+ =&"), ("two", "2%2B")];
    thread::scope(|scope| {
        for (key, id) in uploads {
            let store = &store;
            scope.spawn(move || {
                let url = Url::of(std::path::Path::new(&format!("s3://bucket/{key}"))).unwrap().unwrap();
                let found = Version { etag: Some(key.to_owned()), version: None, bytes: 9 };
                let parts = [PartId { content_id: "\"part\"".to_owned() }];
                store.complete_upload(&url, &id.to_owned(), &parts, Some(&found)).unwrap();
            });
        }
    });
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_by(|one, other| one.0.cmp(&other.0));
    let with_own =
        uploads.map(|(key, _)| (format!("/bucket/{key}"), Some(HeaderValue::from_str(key).unwrap())));
    assert_eq!(*seen, with_own);
}

/// The second of three blocks is too short. Without its error, the text would go on with the third block.
#[test]
fn a_reader_that_failed_skips_no_block() {
    let bytes = 3 * BLOCK_BYTES;
    let fake = FakeServer(Arc::new(move |request: &HttpRequest| {
        let range = request.headers()["range"].to_str().unwrap().trim_start_matches("bytes=").to_owned();
        let (start, end) = range.split_once('-').unwrap();
        let (start, end): (u64, u64) = (start.parse().unwrap(), end.parse().unwrap());
        let length = if start == BLOCK_BYTES { 5 } else { end + 1 - start };
        let mut block = answer(206, &"x".repeat(usize::try_from(length).unwrap()));
        for (name, value) in [
            ("etag", "tag"),
            ("last-modified", "Sun, 29 Nov 2026 02:00:00 GMT"),
            ("content-length", &length.to_string()),
            ("content-range", &format!("bytes {range}/{bytes}")),
        ] {
            block.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        Ok(block)
    }));
    let url = Url::of(std::path::Path::new("s3://bucket/key")).unwrap().unwrap();
    let mut reader = Reader::new(Arc::new(store(fake)), Arc::new(url), bytes, None);
    let mut first = vec![0; usize::try_from(BLOCK_BYTES).unwrap()];
    reader.read_exact(&mut first).unwrap();
    for _ in 0..3 {
        let error = reader.read(&mut [0; 8]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "s3://bucket/key: the store announced 8388608 bytes, but sent fewer or more"
        );
    }
}
