"""Who may do what: nobody by default, and the few who may what is dangerous are named here a second time."""

import pytest

from tms_ca.core.access import ACCESS, Action, Reach, Role, reach


def test_every_action_has_a_row_and_no_row_is_for_nobody():
    assert set(ACCESS) == set(Action)
    assert all(ACCESS.values())


@pytest.mark.parametrize("action", [action for action in Action if action is not Action.PUBLIC])
def test_whoever_has_no_credential_may_nothing_but_what_is_public(action):
    assert reach(action, Role.ANYONE) is None
    assert reach(Action.PUBLIC, Role.ANYONE) is Reach.ANY


@pytest.mark.parametrize(("action", "roles"), [
    (Action.CERTIFICATE_ISSUE, {Role.CLIENT}),
    (Action.LOGIN_CHECK, {Role.HOST}),
    (Action.DELEGATION_REQUEST, {Role.CLIENT}),
    (Action.DELEGATION_DECIDE, {Role.USER}),
    (Action.DELEGATION_REVOKE, {Role.USER}),
    (Action.DELEGATION_GRANT, {Role.OPERATOR, Role.ADMIN}),
    (Action.MFA_VERIFY, {Role.USER}),
    (Action.MFA_ENROL, {Role.USER}),
    (Action.MFA_RESET, {Role.OPERATOR, Role.ADMIN}),
    (Action.CA_KEY_WRITE, {Role.OPERATOR, Role.ADMIN}),
    (Action.LINK_WRITE, {Role.OPERATOR, Role.ADMIN}),
    (Action.AUDIT_READ, {Role.OPERATOR, Role.ADMIN}),
    (Action.TENANT_MANAGE, {Role.OPERATOR}),
    (Action.ADMIN_MANAGE, {Role.OPERATOR}),
])  # fmt: skip
def test_A_01_what_is_dangerous_is_for_these_alone(action, roles):
    assert set(ACCESS[action]) == roles


def test_only_admins_reach_beyond_their_own():
    for action, row in ACCESS.items():
        if action is not Action.PUBLIC:
            assert {role for role, how in row.items() if how is Reach.ANY} <= {Role.OPERATOR, Role.ADMIN}, action


def test_whatever_a_tenants_admin_may_an_operator_may():
    assert all(Role.OPERATOR in row for row in ACCESS.values() if Role.ADMIN in row)


def test_a_user_decides_about_delegations_only_with_the_second_factor():
    assert {reach(action, Role.USER) for action in (Action.DELEGATION_DECIDE, Action.DELEGATION_REVOKE)} == {
        Reach.OWN_MFA
    }
