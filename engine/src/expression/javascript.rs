//! QuickJS with limits.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use rquickjs::context::intrinsic;
use rquickjs::{CatchResultExt, CaughtError, Context, Ctx, Function, Object, Runtime, Value};

use super::prelude;
use super::scope::Scope;

/// Memory of one evaluation, what it sees included, at most.
const MEMORY_BYTES: usize = 16 * 1024 * 1024;
/// Memory of one that sees nothing. The less there is, the less a single step can take.
const LEAST_MEMORY_BYTES: usize = 2 * 1024 * 1024;
/// Objects of JavaScript take some times as many bytes as their JSON.
const MEMORY_PER_BYTE: usize = 16;
/// Stack of one evaluation, well within that of any thread.
const STACK_BYTES: usize = 256 * 1024;
/// Processor time of one evaluation.
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
    acceptable(source)?;
    let values = serde_json::to_string(&scope.values(source)).map_err(|error| error.to_string())?;
    let memory = (LEAST_MEMORY_BYTES + values.len() * MEMORY_PER_BYTE).min(MEMORY_BYTES);
    limited(memory, |ctx| run(ctx, source, values))?
}

/// What is wrong with the form of each text, where something is. Nothing of it is run.
pub(super) fn check<'s>(sources: impl Iterator<Item = &'s str>) -> Vec<Option<String>> {
    let mut found = Vec::new();
    // A file whose expressions take longer than that to read is checked as far as that goes.
    let _ = limited(LEAST_MEMORY_BYTES, |ctx| {
        found.extend(sources.map(|source| match acceptable(source) {
            Ok(()) => malformed(ctx, source),
            Err(why) => Some(why),
        }));
    });
    found
}

fn acceptable(source: &str) -> Result<(), String> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(format!("the expression is longer than {MAX_SOURCE_BYTES} bytes"));
    }
    if prelude::has_big_number(source) {
        return Err("numbers that end in `n` are not supported".into());
    }
    Ok(())
}

/// Does something in a world of its own and within the limits.
fn limited<T>(memory: usize, work: impl FnOnce(&Ctx<'_>) -> T) -> Result<T, String> {
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    runtime.set_memory_limit(memory);
    runtime.set_max_stack_size(STACK_BYTES);
    let stopped = Rc::new(Cell::new(false));
    let (started, seen) = (cpu_time(), Rc::clone(&stopped));
    runtime.set_interrupt_handler(Some(Box::new(move || {
        seen.set(cpu_time().saturating_sub(started) > TIME);
        seen.get()
    })));
    let context = Context::custom::<Intrinsics>(&runtime).map_err(|error| error.to_string())?;
    let result = context.with(|ctx| work(&ctx));
    if stopped.get() {
        return Err(format!("it took longer than {} ms and was stopped", TIME.as_millis()));
    }
    Ok(result)
}

/// The text as one expression, and as the body of a function. Evaluating these makes a function and
/// does not call it, so whatever is thrown is about the form of the text.
fn forms(source: &str) -> [String; 2] {
    [
        format!("(function () {{ return (\n{source}\n); }})"),
        format!("(function () {{\n{source}\n}})"),
    ]
}

fn malformed(ctx: &Ctx<'_>, source: &str) -> Option<String> {
    let mut refused = Vec::new();
    for form in forms(source) {
        match ctx.eval::<Function<'_>, _>(form).catch(ctx) {
            Ok(_) => return None,
            Err(caught) => refused.push((describe(&caught), is_behind(&caught, source))),
        }
    }
    // As statements more is allowed, so that message is nearer to what is wrong.
    let (why, behind) = refused.pop()?;
    if !behind {
        return Some(why);
    }
    // What follows the text is not its writer's: either the text closes the function itself, with
    // a brace too many, or it wants more than there is.
    let brace = refused.pop().filter(|(why, behind)| !behind && why.ends_with("'}'"));
    Some(brace.map_or_else(|| "the expression ends too early".to_owned(), |(why, _)| why))
}

/// Whether a form was refused only after the whole text, which begins on its second line.
fn is_behind(caught: &CaughtError<'_>, source: &str) -> bool {
    let CaughtError::Exception(exception) = caught else { return false };
    // `    at eval_script:3:1`
    let stack = exception.stack().unwrap_or_default();
    let line = stack.lines().next().and_then(|place| place.rsplit(':').nth(1));
    let last = source.matches('\n').count() + 2;
    line.and_then(|line| line.parse::<usize>().ok()).is_some_and(|line| line > last)
}

/// Processor time of this thread. Time of day would blame an expression for a busy machine.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn run(ctx: &Ctx<'_>, source: &str, values: String) -> Result<bool, String> {
    let said = |caught: CaughtError<'_>| describe(&caught);
    let values: Object<'_> =
        ctx.json_parse(values).and_then(|values| values.get()).catch(ctx).map_err(said)?;
    if prelude::is_plain(source) {
        for entry in values.into_iter() {
            let (name, value) = entry.catch(ctx).map_err(said)?;
            ctx.globals().set(name, value).catch(ctx).map_err(said)?;
        }
    } else {
        let setup: Function<'_> = ctx.eval(prelude::setup(source)).catch(ctx).map_err(said)?;
        let () = setup.call((values,)).catch(ctx).map_err(said)?;
    }
    let value = value_of(ctx, source)?;
    truth(ctx, value)
}

/// Runs the text: as one expression, as the body of a function, or as statements of which the last
/// one counts. What cannot be parsed in one form is tried in the next.
fn value_of<'js>(ctx: &Ctx<'js>, source: &str) -> Result<Value<'js>, String> {
    let forms = forms(source);
    let forms = if source.contains("return") { &forms[..] } else { &forms[..1] };
    for form in forms {
        if let Ok(function) = ctx.eval::<Function<'_>, _>(form.as_str()).catch(ctx) {
            return function.call(()).catch(ctx).map_err(|caught| describe(&caught));
        }
    }
    let evaluated = ctx.eval(source).catch(ctx);
    evaluated.map_err(|caught| malformed(ctx, source).unwrap_or_else(|| describe(&caught)))
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
