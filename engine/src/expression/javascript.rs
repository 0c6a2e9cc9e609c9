//! QuickJS with limits.

use std::fmt::Write;
use std::time::{Duration, Instant};

use rquickjs::context::intrinsic;
use rquickjs::{CatchResultExt, CaughtError, Context, Ctx, Function, Runtime, Value};

use super::prelude::HELPERS;
use super::scope::Scope;

/// Memory of one evaluation, what it sees included.
const MEMORY_BYTES: usize = 16 * 1024 * 1024;
/// Stack of one evaluation, well within that of any thread.
const STACK_BYTES: usize = 256 * 1024;
/// Time of one evaluation.
const TIME: Duration = Duration::from_millis(100);
/// A longer text is no condition.
const MAX_SOURCE_BYTES: usize = 64 * 1024;

type Intrinsics = (
    intrinsic::Date,
    intrinsic::Eval,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Json,
    intrinsic::MapSet,
    intrinsic::Promise,
);

/// Evaluates a text to its truth.
pub(super) fn evaluate(source: &str, scope: &Scope) -> Result<bool, String> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(format!("the expression is longer than {MAX_SOURCE_BYTES} bytes"));
    }
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    runtime.set_memory_limit(MEMORY_BYTES);
    runtime.set_max_stack_size(STACK_BYTES);
    #[expect(
        clippy::disallowed_methods,
        reason = "a guard against endless loops, not a fact of the run"
    )]
    let started = Instant::now();
    runtime.set_interrupt_handler(Some(Box::new(move || started.elapsed() > TIME)));
    let context = Context::custom::<Intrinsics>(&runtime).map_err(|error| error.to_string())?;
    let result = context.with(|ctx| run(&ctx, source, scope));
    if started.elapsed() > TIME && result.is_err() {
        return Err(format!("it took longer than {} ms and was stopped", TIME.as_millis()));
    }
    result
}

fn run(ctx: &Ctx<'_>, source: &str, scope: &Scope) -> Result<bool, String> {
    let said = |caught: CaughtError<'_>| describe(&caught);
    let values = serde_json::to_string(&scope.values(source)).map_err(|error| error.to_string())?;
    let values: Value<'_> = ctx.json_parse(values).catch(ctx).map_err(said)?;
    let mut setup = String::from(
        "(function (values) { \
           for (const name of Object.keys(values)) globalThis[name] = values[name]; \
           for (const f of [function () {}, async function () {}, function* () {}, async function* () {}]) \
             Object.defineProperty(Object.getPrototypeOf(f), 'constructor', { value: undefined }); \
           delete globalThis.eval; delete globalThis.Function; ",
    );
    for (name, definition) in HELPERS {
        if source.contains(name) {
            let _ = write!(setup, "globalThis.{name} = {definition}; ");
        }
    }
    setup.push_str("})");
    let setup: Function<'_> = ctx.eval(setup).catch(ctx).map_err(said)?;
    let () = setup.call((values,)).catch(ctx).map_err(said)?;
    let value = value_of(ctx, source)?;
    truth(ctx, value)
}

/// Runs the text: as one expression, as the body of a function, or as statements of which the last
/// one counts. What cannot be parsed in one form is tried in the next.
fn value_of<'js>(ctx: &Ctx<'js>, source: &str) -> Result<Value<'js>, String> {
    let forms = [
        format!("(function () {{ return (\n{source}\n); }})"),
        format!("(function () {{\n{source}\n}})"),
    ];
    let forms = if source.contains("return") { &forms[..] } else { &forms[..1] };
    for form in forms {
        // This makes the function and does not call it: whatever is thrown is about the syntax.
        if let Ok(function) = ctx.eval::<Function<'_>, _>(form.as_str()).catch(ctx) {
            return function.call(()).catch(ctx).map_err(|caught| describe(&caught));
        }
    }
    ctx.eval(source).catch(ctx).map_err(|caught| describe(&caught))
}

fn truth<'js>(ctx: &Ctx<'js>, value: Value<'js>) -> Result<bool, String> {
    let as_bool: Function<'_> =
        ctx.eval("(value) => !!value").catch(ctx).map_err(|caught| describe(&caught))?;
    as_bool.call((value,)).catch(ctx).map_err(|caught| describe(&caught))
}

fn describe(caught: &CaughtError<'_>) -> String {
    let text = match caught {
        CaughtError::Exception(exception) => {
            exception.message().filter(|message| !message.is_empty())
        }
        CaughtError::Value(value) => value
            .as_string()
            .and_then(|text| text.to_string().ok())
            .map(|text| format!("it threw {text:?}")),
        CaughtError::Error(error) => Some(error.to_string()),
    };
    let text = text.unwrap_or_else(|| "it threw something without a message".into());
    text.chars().take(300).collect()
}
