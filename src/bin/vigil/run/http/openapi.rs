//! Paths, and what they are for programs (OpenAPI 3.1): one table says both.

use axum::Router;
use axum::handler::Handler;
use axum::http::{Method, header};
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, on};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::Context;
use super::answer::Failure;

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// Status, words, and the body's media type and schema.
type Told = (u16, &'static str, Option<(&'static str, SchemaOf)>);

/// What an operation is for, what it takes and what it answers.
pub struct Operation {
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    asked: Option<SchemaOf>,
    body: Option<SchemaOf>,
    answers: Vec<Told>,
}

impl Operation {
    /// An operation with this name, in this group.
    pub fn new(id: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self { id, tag, summary, asked: None, body: None, answers: Vec::new() }
    }

    /// It takes the fields of `T` behind the `?`.
    pub fn asked<T: JsonSchema>(mut self) -> Self {
        self.asked = Some(|schemas| schemas.root_schema_for::<T>());
        self
    }

    /// It takes a `T` as JSON.
    pub fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(SchemaGenerator::subschema_for::<T>);
        self
    }

    /// It answers `status` with a `T` as JSON.
    pub fn json<T: JsonSchema>(mut self, status: u16, text: &'static str) -> Self {
        self.answers.push((status, text, Some(("application/json", SchemaGenerator::subschema_for::<T>))));
        self
    }

    /// It answers `status` without a body.
    pub fn nothing(mut self, status: u16, text: &'static str) -> Self {
        self.answers.push((status, text, None));
        self
    }

    /// It answers with a body of this media type; of `T`, where that says something.
    pub fn media<T: JsonSchema>(mut self, media: &'static str, text: &'static str) -> Self {
        self.answers.push((200, text, Some((media, SchemaGenerator::subschema_for::<T>))));
        self
    }

    fn describe(&self, path: &str, schemas: &mut SchemaGenerator) -> Value {
        let mut parameters = Vec::new();
        if path.contains("{id}") {
            let schema = json!({ "type": "string" });
            parameters.push(json!({ "name": "id", "in": "path", "required": true, "description": "The camera's id.", "schema": schema }));
        }
        parameters.extend(self.asked.iter().flat_map(|asked| of_fields(&asked(schemas))));
        let mut answers = Map::new();
        for (status, text, content) in &self.answers {
            // A status may come in several media types.
            let answer = answers.entry(status.to_string()).or_insert_with(|| json!({ "description": text }));
            if let Some((media, schema)) = content {
                answer["content"][media] = json!({ "schema": schema(schemas) });
            }
        }
        let failure = schemas.subschema_for::<Failure>();
        let failure = json!({ "description": "It was not done.", "content": content_of("application/json", &failure) });
        answers.insert("default".into(), failure);
        let mut operation = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "responses": answers,
        });
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if let Some(body) = self.body {
            operation["requestBody"] =
                json!({ "required": true, "content": content_of("application/json", &body(schemas)) });
        }
        operation
    }
}

fn content_of(media: &str, schema: &Schema) -> Value {
    json!({ media: { "schema": schema } })
}

/// One parameter for each field of an object.
fn of_fields(object: &Schema) -> Vec<Value> {
    let required = object.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let fields = object.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let parameter = |(name, schema): (String, Value)| {
        let required = required.contains(&Value::from(name.as_str()));
        let description = schema.get("description").cloned().unwrap_or_default();
        json!({ "name": name, "in": "query", "required": required, "description": description, "schema": schema })
    };
    fields.into_iter().map(parameter).collect()
}

/// Paths with their handlers and their descriptions.
pub struct Table {
    router: Router<Context>,
    paths: Map<String, Value>,
    schemas: SchemaGenerator,
}

impl Table {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self { router: Router::new(), paths: Map::new(), schemas: settings.into_generator() }
    }

    /// Adds an operation.
    pub fn add<T: 'static>(
        &mut self,
        method: Method,
        path: &str,
        handler: impl Handler<T, Context>,
        operation: Operation,
    ) {
        let description = operation.describe(path, &mut self.schemas);
        let name = method.as_str().to_ascii_lowercase();
        // The methods of this file all have a filter.
        let Ok(filter) = MethodFilter::try_from(method) else { return };
        self.router = std::mem::take(&mut self.router).route(path, on(filter, handler));
        let path = self.paths.entry(path).or_insert_with(|| json!({}));
        path[name] = description;
    }
}

fn table() -> Table {
    let mut table = Table::new();
    super::site::add_to(&mut table);
    super::cameras::add_to(&mut table);
    super::events::add_to(&mut table);
    let own =
        Operation::new("getOpenApi", "site", "This description").media::<Value>("application/json", "OpenAPI 3.1.");
    table.add(Method::GET, "/api/v1/openapi.json", serve, own);
    table
}

/// The paths with their handlers.
pub fn routes() -> Router<Context> {
    table().router
}

/// The description for programs, as JSON.
pub fn document() -> String {
    let Table { paths, mut schemas, .. } = table();
    let token = json!({ "type": "http", "scheme": "bearer", "description": "`api.token` of the site's description, if it has one." });
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Vigil gateway",
            "version": "1",
            "description": "The cameras of a running site: how they are doing, changes, events.",
        },
        // Without a token of the description's none is needed.
        "security": [{ "token": [] }, {}],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": token },
            "schemas": schemas.take_definitions(true),
        },
    });
    format!("{document:#}\n")
}

async fn serve() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document())
}
