//! The helper functions of the expression language, in JavaScript. Only those that a text mentions
//! are defined.

/// Each helper with its definition.
pub(super) const HELPERS: &[(&str, &str)] = &[
    ("contains", "(s, sub) => String(s ?? '').toLowerCase().includes(String(sub).toLowerCase())"),
    (
        "startsWith",
        "(s, sub) => String(s ?? '').toLowerCase().startsWith(String(sub).toLowerCase())",
    ),
    ("endsWith", "(s, sub) => String(s ?? '').toLowerCase().endsWith(String(sub).toLowerCase())"),
    (
        "length",
        "(x) => typeof x === 'string' || Array.isArray(x) ? x.length \
         : x && typeof x === 'object' ? Object.keys(x).length : 0",
    ),
    ("always", "() => true"),
    ("success", "() => true"),
    ("failure", "() => false"),
    (
        "hasIssue",
        "(list, field, value) => Array.isArray(list) && list.some((i) => i?.[field] === value)",
    ),
    (
        "hasIssueWith",
        "(list, field, value) => Array.isArray(list) && list.some((i) => i?.[field] === value)",
    ),
    (
        "countIssues",
        "(list, field, value) => Array.isArray(list) ? list.filter((i) => i?.[field] === value).length : 0",
    ),
    (
        "hasFileMatching",
        "(list, part) => Array.isArray(list) && list.some((i) => String(i?.file ?? '').includes(part))",
    ),
    (
        "hasFileWith",
        "(list, part) => Array.isArray(list) && list.some((i) => String(i?.file ?? '').includes(part))",
    ),
    // Outside of a code host everybody may do everything.
    ("hasMinPermission", "() => true"),
    ("isOwner", "() => true"),
    ("isMember", "() => true"),
    ("isCollaborator", "() => true"),
    ("isContributor", "() => true"),
    ("isFirstTimer", "() => false"),
    ("log", "() => undefined"),
    ("memory", "({ get: () => undefined, has: () => false, list: () => [], getAll: () => ({}) })"),
];
