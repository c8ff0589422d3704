//! The one listening port: accepts, speaks TLS if asked, and routes to the services and the control paths.

use crate::app::App;
use crate::conn::{ConnCtl, Io};
use crate::scenario::Scenario;
use crate::{deepgram, deepl, echo, elevenlabs, libretranslate, openai};
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// All paths of the emulator.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/listen", get(deepgram::listen))
        .route("/v2/listen", get(deepgram::flux_listen))
        .route("/v1/speak", post(deepgram::speak))
        .route("/v2/translate", post(deepl::translate))
        .route("/v2/usage", get(deepl::usage).post(deepl::usage))
        .route("/v2/languages", get(deepl::languages).post(deepl::languages))
        .route("/v1/text-to-speech/{voice}/stream", post(elevenlabs::stream))
        .route("/v1/text-to-speech/{voice}/stream-input", get(elevenlabs::single))
        .route("/v1/text-to-speech/{voice}/multi-stream-input", get(elevenlabs::multi))
        .route("/v1/text-to-speech/{voice}/stream/with-timestamps", post(elevenlabs::with_timestamps))
        .route("/v1/chat/completions", post(openai::completions))
        .route("/translate", post(libretranslate::translate))
        .route("/detect", post(libretranslate::detect))
        .route("/languages", get(libretranslate::languages))
        .route("/health", get(libretranslate::health))
        .layer(axum::middleware::from_fn_with_state(app.clone(), echo::note))
        .merge(control())
        .fallback(unknown_path)
        .with_state(app)
}

/// The control paths alone: what a TLS port serves in plain text.
fn control() -> Router<Arc<App>> {
    Router::new()
        .route("/__stats", get(stats).delete(reset_stats))
        .route("/__connections", delete(drop_connections))
        .route("/__scenario", get(show_scenario).put(set_scenario))
}

async fn stats(State(app): State<Arc<App>>) -> Response {
    Json(app.numbers()).into_response()
}

async fn reset_stats(State(app): State<Arc<App>>) -> StatusCode {
    app.stats.reset();
    StatusCode::NO_CONTENT
}

/// Resets every other connection.
async fn drop_connections(State(app): State<Arc<App>>, Extension(own): Extension<Arc<ConnCtl>>) -> StatusCode {
    app.reset_all(&own);
    StatusCode::NO_CONTENT
}

async fn show_scenario(State(app): State<Arc<App>>) -> Response {
    Json(app.scenario().as_ref().clone()).into_response()
}

async fn set_scenario(State(app): State<Arc<App>>, text: String) -> Response {
    match Scenario::parse(&text) {
        Ok(scenario) => {
            app.set_scenario(scenario);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error).into_response(),
    }
}

/// A client of the services that does not encrypt has told everybody its key.
async fn not_encrypted(State(app): State<Arc<App>>, uri: axum::http::Uri) -> StatusCode {
    app.stats.violation(format!("plain text on a TLS port: {}", uri.path()));
    StatusCode::BAD_REQUEST
}

async fn unknown_path(State(app): State<Arc<App>>, uri: axum::http::Uri) -> StatusCode {
    app.stats.violation(format!("unknown path {}", uri.path()));
    StatusCode::NOT_FOUND
}

/// Serves until `stop` is ready.
pub async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, app: Arc<App>, stop: impl Future<Output = ()>) {
    let routes =
        Routes { services: router(app.clone()), control: control().fallback(not_encrypted).with_state(app.clone()) };
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, tls.clone(), routes.clone(), app.clone()));
            }
            // Out of descriptors, most likely: give connections time to go.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

#[derive(Clone)]
struct Routes {
    services: Router,
    control: Router,
}

/// Longest time for a client's first byte on a TLS port, and for the handshake.
const TLS_DEADLINE: Duration = Duration::from_secs(10);

/// Whether a client speaks TLS: its first byte is the type of a handshake record (RFC 8446, 5.1).
async fn speaks_tls(stream: &TcpStream) -> bool {
    let mut first = [0];
    match tokio::time::timeout(TLS_DEADLINE, stream.peek(&mut first)).await {
        Ok(Ok(1)) => first[0] == 22,
        // The handshake finds out what is wrong.
        _ => true,
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, routes: Routes, app: Arc<App>) {
    // Small messages must not wait for acknowledgements; failing to set it only costs time.
    let _ = stream.set_nodelay(true);
    let ctl = ConnCtl::new(app.clone());
    app.connected(&ctl);
    let (tls, router) = match tls {
        Some(_) if !speaks_tls(&stream).await => (None, routes.control),
        tls => {
            app.stats.with(|n| n.tcp_connections += 1);
            (tls, routes.services)
        }
    };
    let io = match tls {
        None => Io::plain(stream, ctl.clone()),
        Some(acceptor) => {
            let Ok(Ok(stream)) = tokio::time::timeout(TLS_DEADLINE, acceptor.accept(stream)).await else {
                return;
            };
            Io::tls(stream, ctl.clone())
        }
    };
    let service = TowerToHyperService::new(router.layer(Extension(ctl.clone())));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new()).max_header_list_size(16 * 1024);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(io), service);
    tokio::pin!(serving);
    tokio::select! {
        _ = serving.as_mut() => return,
        () = ctl.killed.notified() => return,
        () = ctl.idled() => serving.as_mut().graceful_shutdown(),
    }
    // What is left is the polite end of an idle connection.
    let _ = tokio::time::timeout(Duration::from_secs(5), serving).await;
}
