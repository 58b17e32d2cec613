//! Writes Lua scripts: any bytes are the choices that make one which parses, and which calls what a
//! sandbox has, with arguments that are seldom sensible.

use std::fmt::Write as _;

use super::input::Input;
use crate::expressions::string_expression;

/// A script.
pub fn written(input: Input<'_>) -> String {
    let mut program = Program { input, text: PRELUDE.to_owned(), depth: 0, budget: STATEMENTS_MAX };
    while !program.input.is_empty() && program.budget > 0 {
        // An error ends its statement only, so that what follows is seen too.
        program.text.push_str("pcall(function() ");
        program.statement();
        program.text.push_str("end)\n");
    }
    program.text + "return v1"
}

struct Program<'a> {
    input: Input<'a>,
    text: String,
    /// Of blocks and expressions that stand within others.
    depth: usize,
    /// How many more statements there may be.
    budget: usize,
}

impl Program<'_> {
    fn statement(&mut self) {
        self.budget = self.budget.saturating_sub(1);
        match self.input.below(24) {
            0..=4 => self.line(&["v? = ", "@"]),
            5 | 6 => self.line(&["v?[@] = ", "@"]),
            7..=9 => self.line(&["v? = pcall(", "$", "@, @, @)"]),
            10 => self.line(&["v?, v? = ", "$", "(@, @)"]),
            11 => self.line(&["if @ then ", "{", " else ", "{", " end"]),
            12 => self.line(&["for i = @, @ do v? = i ", "{", " if tired() then break end end"]),
            13 if self.input.byte() == u8::MAX => self.line(&["while @ do ", "{", " end"]),
            13 => self.line(&["while @ do ", "{", " if tired() then break end end"]),
            14 => self.line(&["for k, v in pairs(@) do v?, v? = k, v ", "{", " end"]),
            15 => self.line(&["pcall(function() ", "{", " end)"]),
            16 => self.line(&["v? = coroutine.wrap(function(...) v? = ... ", "{", " end)"]),
            17 => self.line(&["v? = function(...) v? = ... ", "{", " return @ end"]),
            // A function, not any value: no hook reaches a chain of tables that call each other.
            18 if self.input.byte() >= 192 => {
                self.line(&["pcall(setmetatable, v?, {__call = function(...) ", "{", " end})"]);
            }
            18 => self.line(&["pcall(setmetatable, v?, {", "%", " = v?, ", "%", " = v?})"]),
            19 => self.line(&["xpcall(function() ", "{", " end, function(...) ", "{", " end)"]),
            20 => {
                self.line(&["do local x <close> = setmetatable({}, {__close = v?}) ", "{", " end"])
            }
            21 => self.line(&["v? = ", "$", "(@)"]),
            22 => self.line(&["coroutine.yield(@)"]),
            _ => self.line(&["do return @ end"]),
        }
    }

    /// Writes the parts of a statement: blocks, names of functions and of metamethods where these
    /// are to stand, and text in which each `@` is an expression and each `?` the number of a
    /// variable.
    fn line(&mut self, parts: &[&str]) {
        for part in parts {
            match *part {
                "{" => self.block(),
                "$" => {
                    let arguments_follow = self.input.one_of(FUNCTIONS);
                    self.text.push_str(arguments_follow);
                    self.separate(part, parts);
                }
                "%" => {
                    let name = self.input.one_of(METAMETHODS);
                    self.text.push_str(name);
                }
                text => self.fill(text),
            }
        }
        self.text.push('\n');
    }

    /// Within the arguments of `pcall` a function is one of them.
    fn separate(&mut self, part: &str, parts: &[&str]) {
        let is_argument = parts.first().is_some_and(|first| first.ends_with("pcall("));
        if is_argument && part == "$" {
            self.text.push_str(", ");
        }
    }

    fn fill(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '@' => self.expression(),
                '?' => {
                    let number = 1 + self.input.below(VARIABLES);
                    write!(self.text, "{number}").expect("text grows");
                }
                other => self.text.push(other),
            }
        }
    }

    fn block(&mut self) {
        self.depth += 1;
        if self.depth <= DEPTH_MAX {
            let count = self.input.below(4);
            for _ in 0..count.min(self.budget) {
                self.text.push_str("do ");
                self.statement();
                self.text.push_str("end ");
            }
        }
        self.depth -= 1;
    }

    fn expression(&mut self) {
        self.depth += 1;
        let choice =
            if self.depth > DEPTH_MAX { self.input.below(8) } else { self.input.below(20) };
        match choice {
            0..=2 => self.fill("v?"),
            3 | 4 => {
                let literal = self.input.one_of(LITERALS);
                self.text.push_str(literal);
            }
            5 => {
                let text = string_expression(self.input.fewer_than(10));
                self.text.push_str(&text);
            }
            6 => {
                let integer = self.input.word().cast_signed();
                write!(self.text, "({integer})").expect("text grows");
            }
            7 => {
                let text = self.input.one_of(PATTERNS);
                self.text.push_str(&string_expression(text.as_bytes()));
            }
            8 => self.fill("{@, @, k = @}"),
            9 => self.fill("{[@ or 1] = @}"),
            10 => self.fill("(@)[@]"),
            11 => self.fill("#(@)"),
            12..=14 => {
                let operator = self.input.one_of(OPERATORS);
                self.fill("(@");
                self.text.push_str(operator);
                self.fill("@)");
            }
            15 => self.fill("(not @)"),
            _ => {
                let function = self.input.one_of(FUNCTIONS);
                self.text.push_str(function);
                self.fill("(@, @)");
            }
        }
        self.depth -= 1;
    }
}

/// The methods of the store are functions here, as others are. Loops tire: a script that is ended by
/// its time has taken all of it, and seldom shows more than another.
const PRELUDE: &str = "local store = require('store') local cache, c = store.get('app:cache'), {}
for _, name in ipairs({'get', 'set', 'put', 'delete', 'has', 'entry', 'list', 'transact', 'watch', 'info', 'release'}) do
  c[name] = function(...) return cache[name](cache, ...) end
end
local rounds = 50
local function tired() rounds = rounds - 1 return rounds < 0 end
local v1, v2, v3, v4, v5, v6 = ...
";

const VARIABLES: usize = 6;
const STATEMENTS_MAX: usize = 40;
const DEPTH_MAX: usize = 5;

const LITERALS: &[&str] = &[
    "nil",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "2",
    "64",
    "1e308",
    "(0/0)",
    "math.huge",
    "0.5",
    "1000000",
    "math.maxinteger",
    "math.mininteger",
    "_G",
    "string",
    "errors",
    "cache",
    "store",
    "print",
    "{}",
    "'app:secret'",
    "'key'",
    "'app:cache'",
    "('x'):rep(1000)",
    "function(...) return ... end",
    "coroutine.running()",
    "errors.new('e')",
    "'__index'",
    "getmetatable('')",
    "{op = 'put', key = 'a', value = 1}",
    "{ttl = 0.01}",
    "{only_if_absent = true}",
    "{if_version = '0'}",
    "{limit = 1}",
];

const PATTERNS: &[&str] = &[
    ".", "%a+", "(.-)%s", "^%s*$", "%b()", "%f[%w]", "[^a-z]", "(a*)%1", "%", "[", "(()", "%g-",
    ".*.*.*b", "*t", "!%c", "%d %s %q", "%5.2f", "%a", "<i4", "z", "s1", "i16", "%Y-%m-%d", "x%0",
];

const OPERATORS: &[&str] = &[
    " + ", " - ", " * ", " / ", " // ", " % ", " ^ ", " .. ", " == ", " < ", " <= ", " and ",
    " or ", " & ", " | ", " ~ ", " << ", " >> ",
];

const METAMETHODS: &[&str] = &[
    "__index",
    "__newindex",
    "__tostring",
    "__len",
    "__pairs",
    "__close",
    "__gc",
    "__mode",
    "__name",
    "__concat",
    "__eq",
    "__lt",
    "__add",
    "__unm",
    "__metatable",
];

const FUNCTIONS: &[&str] = &[
    "v1",
    "v2",
    "v3",
    "assert",
    "error",
    "getmetatable",
    "ipairs",
    "next",
    "pairs",
    "pcall",
    "print",
    "rawequal",
    "rawget",
    "rawlen",
    "rawset",
    "require",
    "select",
    "setmetatable",
    "tonumber",
    "tostring",
    "type",
    "xpcall",
    "coroutine.create",
    "coroutine.isyieldable",
    "coroutine.resume",
    "coroutine.running",
    "coroutine.status",
    "coroutine.wrap",
    "coroutine.yield",
    "math.abs",
    "math.ceil",
    "math.floor",
    "math.fmod",
    "math.log",
    "math.max",
    "math.modf",
    "math.random",
    "math.randomseed",
    "math.tointeger",
    "math.type",
    "math.ult",
    "os.clock",
    "os.date",
    "os.difftime",
    "os.time",
    "string.byte",
    "string.char",
    "string.find",
    "string.format",
    "string.gmatch",
    "string.gsub",
    "string.len",
    "string.lower",
    "string.match",
    "string.pack",
    "string.packsize",
    "string.rep",
    "string.reverse",
    "string.sub",
    "string.unpack",
    "string.upper",
    "table.concat",
    "table.insert",
    "table.move",
    "table.pack",
    "table.remove",
    "table.sort",
    "table.unpack",
    "utf8.char",
    "utf8.codepoint",
    "utf8.codes",
    "utf8.len",
    "utf8.offset",
    "errors.new",
    "errors.wrap",
    "errors.is",
    "errors.call_stack",
    "json.encode",
    "json.decode",
    "time.sleep",
    "store.get",
    "c.get",
    "c.set",
    "c.put",
    "c.delete",
    "c.has",
    "c.entry",
    "c.list",
    "c.transact",
    "c.watch",
    "c.info",
    "c.release",
];
