//! The OpenAPI description against the router.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use visor_coordinator::http;
use visor_protocol::api::ApiError;

use crate::site::{Door, options};
use crate::stub::Stub;

fn document() -> Value {
    serde_json::from_str(&http::openapi()).unwrap()
}

fn described() -> BTreeSet<(String, String)> {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone()))
    });
    operations.collect()
}

#[test]
fn the_description_has_every_route_and_no_other() {
    let routes: BTreeSet<(String, String)> =
        http::routes().map(|(method, path)| (method.to_owned(), path.to_owned())).collect();
    assert_eq!(described(), routes);
}

#[test]
fn every_reference_in_the_description_leads_somewhere() {
    fn follow(document: &Value, value: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    let place = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(place).is_some(), "{reference}");
                }
                fields.values().for_each(|field| follow(document, field));
            }
            Value::Array(items) => items.iter().for_each(|item| follow(document, item)),
            _ => {}
        }
    }
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    follow(&document, &document);
    assert_eq!(document["components"]["schemas"]["Submission"]["required"], json!(["config"]));
    let blob = "/paths/~1api~1v1~1blobs/put/requestBody/content/application~1octet-stream/schema";
    assert_eq!(document.pointer(blob), Some(&json!({"type": "string", "format": "binary"})));
    for schema in ["Submission", "RunReport", "RunSummary", "Notice", "ApiError", "FleetStatus"] {
        assert!(document["components"]["schemas"][schema].is_object(), "{schema}");
    }
}

#[tokio::test]
async fn what_is_described_is_routed_and_served() {
    let door = Door::open(options(None), Stub::refusing(ApiError::new("x", "x"))).await;
    for (method, path) in described() {
        // Nothing has this method: a route says so, and what is no route is not found.
        let path = path.replace(['{', '}'], "");
        let patch = door.request(Method::PATCH, &path).send().await.unwrap();
        assert_eq!(patch.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = patch.headers()["allow"].to_str().unwrap().to_owned();
        assert!(allowed.contains(&method.to_uppercase()), "{method} {path}: {allowed}");
    }
    let served = door.get("/api/v1/openapi.json").send().await.unwrap();
    assert_eq!(served.headers()["content-type"], "application/json");
    assert_eq!(served.json::<Value>().await.unwrap(), document());
}
