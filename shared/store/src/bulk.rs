//! Statements about many rows at once.
//!
//! A template begins with `WITH {input}`, which becomes a table `input` of the given columns; the rest of the
//! template is one text for both databases and may use further parameters, numbered from `$1`:
//!
//! ```text
//! WITH {input} UPDATE events SET recheck = TRUE FROM input
//!   WHERE events.id = input.id AND events.organization_id = $1
//! ```
//!
//! Postgres gets one array a column, so that the text never changes and is planned once, whatever the number
//! of rows. The database library cannot put a null into an array; a column that can be null is accompanied by an
//! array that says where. SQLite gets `VALUES` in blocks whose size is a power of four: few enough parameters
//! for its limit, and few enough different texts to be prepared once.

use std::fmt::Write as _;

use sea_orm::Value;
use sea_orm::sea_query::ArrayType;
use uuid::Uuid;

use crate::error::StoreError;
use crate::transaction::{Bind, Row, Tx};

/// Most parameters of a block for SQLite, whose limit is 32,766.
const SQLITE_PARAMETERS: usize = 32_000;
/// Most rows of a block for SQLite; a power of four. Larger ones are not faster.
const SQLITE_ROWS: usize = 256;

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Uuid,
    Text,
    Bytes,
    BigInt,
    Int,
    SmallInt,
    Bool,
}

impl Kind {
    fn postgres_name(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Text => "text",
            Self::Bytes => "bytea",
            Self::BigInt => "bigint",
            Self::Int => "integer",
            Self::SmallInt => "smallint",
            Self::Bool => "boolean",
        }
    }

    fn array_type(self) -> ArrayType {
        match self {
            Self::Uuid => ArrayType::Uuid,
            Self::Text => ArrayType::String,
            Self::Bytes => ArrayType::Bytes,
            Self::BigInt => ArrayType::BigInt,
            Self::Int => ArrayType::Int,
            Self::SmallInt => ArrayType::SmallInt,
            Self::Bool => ArrayType::Bool,
        }
    }

    /// What stands in an array where another array says "null".
    fn filler(self) -> Value {
        match self {
            Self::Uuid => Value::from(Uuid::nil()),
            Self::Text => Value::from(String::new()),
            Self::Bytes => Value::from(Vec::<u8>::new()),
            Self::BigInt => Value::from(0_i64),
            Self::Int => Value::from(0_i32),
            Self::SmallInt => Value::from(0_i16),
            Self::Bool => Value::from(false),
        }
    }
}

#[derive(Debug)]
struct Column {
    name: &'static str,
    kind: Kind,
    is_nullable: bool,
    values: Vec<Value>,
}

/// The rows of a bulk statement, column by column.
#[derive(Debug, Default)]
pub(crate) struct Input {
    columns: Vec<Column>,
}

impl Input {
    /// No columns yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a column; all columns must be of one length.
    pub(crate) fn column<T: Bind>(mut self, name: &'static str, values: impl IntoIterator<Item = T>) -> Self {
        let values = values.into_iter().map(Bind::bind).collect();
        self.columns.push(Column { name, kind: T::KIND, is_nullable: T::IS_NULLABLE, values });
        self
    }

    /// How many rows.
    pub(crate) fn len(&self) -> usize {
        self.columns.iter().map(|column| column.values.len()).min().unwrap_or(0)
    }

    /// Inserts all columns under their own names; `tail` is what follows, such as `ON CONFLICT … DO NOTHING`.
    pub(crate) async fn insert(
        self,
        tx: &Tx,
        operation: &'static str,
        table: &str,
        tail: &str,
    ) -> Result<u64, StoreError> {
        let names = self.names();
        // without WHERE, SQLite takes ON CONFLICT for the condition of a join
        let template = format!(
            "WITH {{input}} INSERT INTO {table} ({names}) SELECT {names} FROM input WHERE TRUE {tail}"
        );
        self.execute(tx, operation, &template, Vec::new()).await
    }

    /// Runs the template; how many rows it changed. Nothing is sent when there are no rows.
    pub(crate) async fn execute(
        self,
        tx: &Tx,
        operation: &'static str,
        template: &str,
        values: Vec<Value>,
    ) -> Result<u64, StoreError> {
        let mut changed = 0;
        for (sql, values) in self.statements(tx.is_postgres(), template, &values) {
            changed += tx.execute(operation, &sql, values).await?;
        }
        Ok(changed)
    }

    /// Runs the template; the rows that it answers, in no order.
    pub(crate) async fn all(
        self,
        tx: &Tx,
        operation: &'static str,
        template: &str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        let mut answer = Vec::new();
        for (sql, values) in self.statements(tx.is_postgres(), template, &values) {
            answer.append(&mut tx.all(operation, &sql, values).await?);
        }
        Ok(answer)
    }

    fn names(&self) -> String {
        self.columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
    }

    fn statements(self, is_postgres: bool, template: &str, fixed: &[Value]) -> Vec<(String, Vec<Value>)> {
        if self.len() == 0 {
            return Vec::new();
        }
        if is_postgres { vec![self.into_arrays(template, fixed)] } else { self.into_blocks(template, fixed) }
    }

    fn into_arrays(self, template: &str, fixed: &[Value]) -> (String, Vec<Value>) {
        let names = self.names();
        let mut values = fixed.to_vec();
        let (mut selected, mut arrays, mut aliases) = (Vec::new(), Vec::new(), Vec::new());
        for column in self.columns {
            let Column { name, kind, is_nullable, values: mut elements } = column;
            if is_nullable {
                let nulls = elements.iter().map(|value| Value::from(is_null(value))).collect();
                values.push(Value::Array(ArrayType::Bool, Some(Box::new(nulls))));
                arrays.push(format!("${}::boolean[]", values.len()));
                aliases.push(format!("no_{name}"));
                selected.push(format!("CASE WHEN NOT no_{name} THEN {name} END"));
                for value in elements.iter_mut().filter(|value| is_null(value)) {
                    *value = kind.filler();
                }
            } else {
                selected.push(name.to_owned());
            }
            values.push(Value::Array(kind.array_type(), Some(Box::new(elements))));
            arrays.push(format!("${}::{}[]", values.len(), kind.postgres_name()));
            aliases.push(name.to_owned());
        }
        let input = format!(
            "input ({names}) AS (SELECT {} FROM unnest({}) AS given ({}))",
            selected.join(", "),
            arrays.join(", "),
            aliases.join(", ")
        );
        (template.replace("{input}", &input), values)
    }

    fn into_blocks(self, template: &str, fixed: &[Value]) -> Vec<(String, Vec<Value>)> {
        let (names, width, mut left) = (self.names(), self.columns.len(), self.len());
        let most = (SQLITE_PARAMETERS.saturating_sub(fixed.len()) / width.max(1)).clamp(1, SQLITE_ROWS);
        let mut columns: Vec<_> = self.columns.into_iter().map(|column| column.values.into_iter()).collect();
        let mut statements = Vec::new();
        while left > 0 {
            let rows = block(left, most);
            let mut values = Vec::with_capacity(fixed.len() + rows * width);
            values.extend_from_slice(fixed);
            let mut input = format!("input ({names}) AS (VALUES ");
            for row in 0..rows {
                input.push_str(if row == 0 { "(" } else { ", (" });
                for (place, column) in columns.iter_mut().enumerate() {
                    values.extend(column.next());
                    let comma = if place == 0 { "" } else { ", " };
                    // writing to a string cannot fail
                    write!(input, "{comma}${}", values.len()).ok();
                }
                input.push(')');
            }
            input.push(')');
            statements.push((template.replace("{input}", &input), values));
            left -= rows;
        }
        statements
    }
}

/// The largest power of four that is not more than either.
fn block(left: usize, most: usize) -> usize {
    let mut size = 1;
    while size * 4 <= left.min(most) {
        size *= 4;
    }
    size
}

fn is_null(value: &Value) -> bool {
    *value == value.as_null()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::values;

    fn three() -> Input {
        Input::new().column("id", [1_i64, 2, 3]).column("title", [Some("a"), None, Some("c")])
    }

    #[test]
    fn postgres_gets_one_text_whatever_the_rows_and_is_told_of_nulls() {
        let (sql, values) =
            three().into_arrays("WITH {input} SELECT id FROM input WHERE id > $1", &[Value::from(0_i64)]);

        assert_eq!(
            sql,
            "WITH input (id, title) AS (SELECT id, CASE WHEN NOT no_title THEN title END \
             FROM unnest($2::bigint[], $3::boolean[], $4::text[]) AS given (id, no_title, title)) \
             SELECT id FROM input WHERE id > $1"
        );
        let nulls = vec![false, true, false].into_iter().map(Value::from).collect();
        assert_eq!(values[2], Value::Array(ArrayType::Bool, Some(Box::new(nulls))));
    }

    #[test]
    fn sqlite_gets_blocks_of_few_sizes() {
        let blocks = three().into_blocks("WITH {input} SELECT 1", &[]);
        assert_eq!(blocks.len(), 3);
        assert_eq!(blocks[1].0, "WITH input (id, title) AS (VALUES ($1, $2)) SELECT 1");
        assert_eq!(blocks[1].1, values![2_i64, None::<String>]);

        let input = Input::new().column("id", 0..1_100_i64);
        let sizes: Vec<_> = input.into_blocks("{input}", &[]).iter().map(|block| block.1.len()).collect();
        assert_eq!(sizes, [256, 256, 256, 256, 64, 4, 4, 4]);
    }
}
