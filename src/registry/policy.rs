//! The kind `security.policy`: its fields as a [`Policy`].

use super::fields::{Fields, Given};
use super::nodes::Nodes;
use super::problem::Refusal;
use super::suggest::did_you_mean;
use crate::policy::{
    Effect, Field, Operand, Operator, Pattern, Permission, Policy, PolicyCondition,
};

/// Reads the fields of a `security.policy`; none if something was reported.
pub(super) fn read(fields: &mut Fields<'_>) -> Option<Policy> {
    let groups = fields.optional_items("groups", |given| match given.text()? {
        "" => Err(Refusal::new("the name of the group is empty; write one, or remove the item")),
        group => Ok(group.to_owned()),
    });
    let example = "{effect: allow, actions: store.key.get, resources: app:cache}";
    let mut policy = fields.required_mapping("policy", example)?;
    let effect = policy.required("effect", "allow", |given| match given.text()? {
        "allow" => Ok(Effect::Allow),
        "deny" => Ok(Effect::Deny),
        other => Err(Refusal::new(format!("{other:?} is no effect; write allow or deny"))),
    });
    let actions = policy.required_items("actions", "\"store.key.*\"", action);
    let resources =
        policy.required_items("resources", "\"app:*\"", |given| Ok(Pattern::parse(given.text()?)?));
    let conditions = policy.optional_mappings("conditions", EXAMPLE_CONDITIONS);
    let conditions = conditions.into_iter().map(read_condition).collect::<Vec<_>>();
    policy.finish();
    let policy = Policy::new(effect?, actions?, resources?).with_groups(groups.unwrap_or_default());
    conditions
        .into_iter()
        .try_fold(policy, |policy, condition| Some(policy.with_condition(condition?)))
}

/// The fields of a `security.policy`.
pub(super) fn write(policy: &Policy, nodes: &mut Nodes) {
    if policy.groups().next().is_some() {
        nodes.texts("groups", policy.groups().map(str::to_owned));
    }
    let mut fields = nodes.nested();
    let effect = match policy.effect() {
        Effect::Allow => "allow",
        Effect::Deny => "deny",
    };
    fields.text("effect", effect);
    fields.texts("actions", policy.actions().iter().map(Pattern::to_text));
    fields.texts("resources", policy.resources().iter().map(Pattern::to_text));
    let condition = |condition: &PolicyCondition| {
        let mut fields = nodes.nested();
        fields.text("field", &condition.field().to_text());
        fields.text("operator", condition.operator().as_str());
        match condition.operand() {
            Operand::None => {}
            Operand::One(value) => fields.value("value", &value),
            Operand::Many(values) => fields.values("value", &values),
        }
        fields
    };
    fields.mappings("conditions", policy.conditions().iter().map(condition));
    nodes.mapping("policy", fields);
}

fn action(given: &Given<'_>) -> Result<Pattern, Refusal> {
    let text = given.text()?;
    let pattern = Pattern::parse(text)?;
    if pattern.misses_every_permission() {
        let known = Permission::ALL.map(Permission::as_str);
        let (near, known) = (did_you_mean(text, known), known.join(", "));
        return Err(Refusal::new(format!("no action is {text:?}{near} (known are {known})")));
    }
    Ok(pattern)
}

/// Reads one condition; none if something was reported.
fn read_condition(mut fields: Fields<'_>) -> Option<PolicyCondition> {
    let field = fields.required("field", "key", |given| {
        let text = given.text()?;
        Field::parse(text).ok_or_else(|| unknown("field", text, &Field::FORMS))
    });
    let operator = fields.required("operator", "eq", |given| {
        let text = given.text()?;
        let names = Operator::ALL.map(|(name, _)| name);
        Operator::parse(text).ok_or_else(|| unknown("operator", text, &names))
    });
    let condition = match (field, operator) {
        (Some(field), Some(operator)) => read_value(&mut fields, &field, operator),
        // What a value has to be depends on both.
        _ => return None,
    };
    fields.finish();
    condition
}

fn read_value(
    fields: &mut Fields<'_>,
    field: &Field,
    operator: Operator,
) -> Option<PolicyCondition> {
    let condition = |operand| -> Result<_, Refusal> {
        Ok(PolicyCondition::new(field.clone(), operator, operand)?)
    };
    match operator {
        Operator::Exists | Operator::Nexists => {
            fields.optional("value", |_| {
                let what = "exists and nexists take no value; remove it";
                Err::<(), _>(Refusal::new(what))
            });
            condition(Operand::None).ok()
        }
        Operator::In | Operator::Nin => {
            let values = fields.required_items("value", "[a, b]", |given| {
                let value = given.scalar()?;
                // Each alone, so that a wrong one is told in its place.
                condition(Operand::Many(vec![value.clone()])).map(|_| value)
            });
            condition(Operand::Many(values?)).ok()
        }
        _ => fields.required("value", "\"...\"", |given| condition(Operand::One(given.scalar()?))),
    }
}

fn unknown(what: &str, text: &str, known: &[&str]) -> Refusal {
    let (near, known) = (did_you_mean(text, known.iter().copied()), known.join(", "));
    Refusal::new(format!("{text:?} is no {what} of a condition{near} (known are {known})"))
}

const EXAMPLE_CONDITIONS: &str = "[{field: key, operator: matches, value: \"^user:\"}]";
