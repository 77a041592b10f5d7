"""A NUL is a character to SQLite and an error to PostgreSQL: no string of any body carries one as far as that."""

from tests.api.bodies import WITH_BODY, ask, good_bodies
from tests.api.test_contract import problem, spoiled


async def test_a_nul_in_any_string_of_a_body_is_never_a_500(world):
    bodies = good_bodies(world)
    for how in (lambda text: text + "\0", lambda _: "\0"):
        for endpoint in WITH_BODY:
            for body in spoiled(bodies[endpoint.name], how):
                reply = await ask(world, endpoint, json=body)
                assert reply.status < 500, (endpoint.name, body)
                if reply.status >= 400:
                    problem(reply, reply.status)
