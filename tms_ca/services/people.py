"""People: passwords, sessions and the second factor.

Every guess is counted before it is looked at, in the database, so that parallel guesses and several servers share
one count. Unknown users cost the same and answer the same as known ones.
"""

import asyncio
import hmac
from dataclasses import dataclass

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from tms_ca.core.errors import Conflict, NotFound, TooMany, Unauthenticated
from tms_ca.core.model import Caller, Session
from tms_ca.services.clock import Clock
from tms_ca.services.ids import new_secret, secret_digest
from tms_ca.services.journal import event
from tms_ca.store import people, reservations, rows
from tms_ca.store.engine import Database, Transaction
from tms_ca.vault import Vault

FREE_FAILURES = 5  # then each failure doubles the wait
FIRST_WAIT_SECONDS = 30
LONGEST_WAIT_SECONDS = 3600
LOCKED_FAILURES = 100  # then only an admin's reset helps
LOCKED_UNTIL = 2**53
STEP_SECONDS = 30  # RFC 6238 section 4
SEED_BASE32_CHARACTERS = 32  # 160 bits (RFC 4226 section 4)
_PARALLEL_HASHES = 2  # each takes a core and 19 MiB for 22 ms; more at once would only starve the service


@dataclass(frozen=True, slots=True)
class MfaStatus:
    """Where a user stands with the second factor."""

    enrolled: bool
    verified_at: int | None
    expires_at: int | None


def wait_after(failures: int) -> int:
    """Return the seconds until the next guess is looked at, after so many failures in a row."""
    if failures < FREE_FAILURES:
        return 0
    return min(FIRST_WAIT_SECONDS << min(failures - FREE_FAILURES, 16), LONGEST_WAIT_SECONDS)


_HASHER = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)  # OWASP's minimum for argon2id


# Of a password that nobody knows, at the cost of everybody's: what is checked where there is none to check.
_NOBODYS_HASH = "$argon2id$v=19$m=19456,t=2,p=1$rjfEusUlDEnN17kmXTMxQw$5CFlkjY/B4s4+kfQma09fwMmcFsbUY6cxvniBHwo18c"


class Passwords:
    """argon2id, off the event loop."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(_PARALLEL_HASHES)

    async def hash(self, password: str) -> str:
        """Return the hash to keep."""
        async with self._turn:
            return await asyncio.to_thread(_HASHER.hash, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Check; a user without a password, or no user, takes as long and fails."""
        async with self._turn:
            return await asyncio.to_thread(self._verify, stored, password)

    def _verify(self, stored: str | None, password: str) -> bool:
        try:
            _HASHER.verify(stored or _NOBODYS_HASH, password)
        except (VerifyMismatchError, InvalidHashError):
            return False
        return stored is not None


class People:
    """Log in, prove a second factor, log out."""

    def __init__(
        self, database: Database, vault: Vault, passwords: Passwords, clock: Clock, session_seconds: int
    ) -> None:
        self._database = database
        self._vault = vault
        self._passwords = passwords
        self._clock = clock
        self._session_seconds = session_seconds

    async def log_in(self, caller: Caller, tenant: str, user: str, password: str) -> tuple[str, Session]:
        """Check the password and open a session; return its token, which is shown once.

        Raises:
            Unauthenticated: the user or the password is wrong, or the user may not log in: nobody is told which
            TooMany: too many failures

        """
        await self._count(caller, tenant, f"password:{user}", "sessions.create")
        async with self._database.read() as connection:
            known = await rows.USERS.get(connection, tenant, user)
            stored = await people.password_hash(connection, tenant, user)
        good = await self._passwords.verify(stored, password)
        async with self._database.transaction() as transaction:
            # A password that was changed while the old one was checked has ended every session: add none after that.
            good = good and stored == await people.password_hash(transaction.connection, tenant, user, hold=True)
            if not good or known is None or not known.enabled or known.revocation_id:
                transaction.record(
                    event(self._clock, caller, tenant, "sessions.create", f"user:{user}", "login_failed")
                )
                session = None
            else:
                await people.clear_failures(transaction.connection, tenant, f"password:{user}")
                token = new_secret("user")
                now = self._clock.now()
                session = Session(tenant, user, now, now + self._session_seconds)
                await people.end_old_sessions(transaction.connection, tenant, user, now)
                await people.add_session(transaction.connection, secret_digest(token), session)
                transaction.record(event(self._clock, caller, tenant, "sessions.create", f"user:{user}"))
        if session is None:
            raise Unauthenticated("login_failed", "the user or the password is wrong", recorded=True)
        return token, session

    async def log_out(self, caller: Caller) -> None:
        """End the caller's session."""
        async with self._database.transaction() as transaction:
            await people.end_session(transaction.connection, caller.session)
            transaction.record(event(self._clock, caller, caller.tenant, "sessions.end", f"user:{caller.id}"))

    async def change_password(self, caller: Caller, current: str, new: str) -> None:
        """Replace the caller's password and end their other sessions.

        Raises:
            Unauthenticated: `current` is wrong

        """
        await self._count(caller, caller.tenant, f"password:{caller.id}", "password.change")
        async with self._database.read() as connection:
            stored = await people.password_hash(connection, caller.tenant, caller.id)
        if not await self._passwords.verify(stored, current):
            raise Unauthenticated("login_failed", "the current password is wrong")
        hashed = await self._passwords.hash(new)
        async with self._database.change(caller.tenant) as transaction:
            # An admin may have set another meanwhile, for whoever knows the old one to be out.
            if stored != await people.password_hash(transaction.connection, caller.tenant, caller.id):
                raise Unauthenticated("login_failed", "the current password is wrong")
            await rows.USERS.update(transaction.connection, (caller.tenant, caller.id), password_hash=hashed)
            await people.clear_failures(transaction.connection, caller.tenant, f"password:{caller.id}")
            await people.end_other_sessions(transaction.connection, caller.tenant, caller.id, caller.session)
            transaction.record(event(self._clock, caller, caller.tenant, "password.change", f"user:{caller.id}"))

    async def hash_password(self, password: str) -> str:
        """Return the hash of a password that an admin sets."""
        return await self._passwords.hash(password)

    async def enrol_totp(self, caller: Caller, tenant_name: str) -> tuple[str, str]:
        """Make a new seed; return it and its otpauth URI, both shown once. It counts once a code confirmed it.

        Raises:
            Conflict: a confirmed factor exists and the caller is not MFA-current

        """
        seed = pyotp.random_base32(SEED_BASE32_CHARACTERS)
        # A change, though no decision rests on it: of this and of a code that confirms a factor, one comes first.
        async with self._database.change(caller.tenant) as transaction:
            factor = await people.totp_factor(transaction.connection, caller.tenant, caller.id)
            if factor is not None and factor.confirmed_at is not None and caller.mfa_until <= self._clock.now():
                raise Conflict("mfa_required", "changing the second factor needs the present one: verify it first")
            sealed = self._vault.seal(_seed_name(caller.tenant, caller.id), seed.encode())
            await people.replace_totp(transaction.connection, caller.tenant, caller.id, sealed, self._clock.now())
            transaction.record(event(self._clock, caller, caller.tenant, "mfa.enrol", f"user:{caller.id}"))
        return seed, pyotp.TOTP(seed).provisioning_uri(name=caller.id, issuer_name=f"TMS {tenant_name}")

    async def verify_totp(self, caller: Caller, code: str) -> MfaStatus:
        """Open the MFA window; the first good code also confirms the factor. A code works once, anywhere.

        Raises:
            NotFound: no factor is enrolled
            Unauthenticated: a wrong, old or used code
            TooMany: too many failures

        """
        subject = f"totp:{caller.id}"
        await self._count(caller, caller.tenant, subject, "mfa.verify")
        now = self._clock.now()
        async with self._database.change(caller.tenant) as transaction:
            step = await self._matching_step(transaction, caller, code, now)
            good = step is not None and await people.take_step(
                transaction.connection, caller.tenant, caller.id, step, now
            )
            if good:
                await people.clear_failures(transaction.connection, caller.tenant, subject)
                await rows.USERS.update(transaction.connection, (caller.tenant, caller.id), mfa_verified_at=now)
                await people.session_verified(transaction.connection, caller.session, now)
            transaction.record(
                event(
                    self._clock,
                    caller,
                    caller.tenant,
                    "mfa.verify",
                    f"user:{caller.id}",
                    "ok" if good else "mfa_failed",
                )
            )
        if not good:
            raise Unauthenticated("mfa_failed", "the code is wrong, too old or was used before", recorded=True)
        return await self.mfa_status(caller.tenant, caller.id)

    async def _matching_step(self, transaction: Transaction, caller: Caller, code: str, now: int) -> int | None:
        """Return which of the three current steps `code` belongs to."""
        factor = await people.totp_factor(transaction.connection, caller.tenant, caller.id)
        if factor is None:
            raise NotFound("mfa_not_enrolled", "no second factor is enrolled; enrol one first")
        seed = self._vault.unseal(_seed_name(caller.tenant, caller.id), factor.sealed_seed).decode()
        totp, current = pyotp.TOTP(seed), now // STEP_SECONDS
        matching = [
            step
            for step in (current - 1, current, current + 1)
            if hmac.compare_digest(totp.at(step * STEP_SECONDS).encode(), code.encode())
        ]
        return matching[-1] if matching else None

    async def mfa_status(self, tenant: str, user: str) -> MfaStatus:
        """Return where a user stands."""
        async with self._database.read() as connection:
            factor = await people.totp_factor(connection, tenant, user)
            person = await rows.USERS.get(connection, tenant, user)
            home = await rows.TENANTS.get(connection, tenant)
        ends: list[int] = []
        if person is not None and home is not None:
            own = person.mfa_verified_at
            ends += [] if own is None else [own + home.mfa_window_seconds]
            ends += [] if person.mfa_until is None else [person.mfa_until]
        return MfaStatus(
            factor is not None and factor.confirmed_at is not None,
            person.mfa_verified_at if person else None,
            max(ends, default=None),
        )

    async def reset_mfa(self, caller: Caller, tenant: str, user: str) -> None:
        """Forget a user's factor, window and lock-outs, and an admin's word; end their sessions and reservations.

        What rested on them is refused at once.

        Raises:
            NotFound: no such user

        """
        async with self._database.change(tenant) as transaction:
            connection = transaction.connection
            if not await rows.USERS.update(connection, (tenant, user), mfa_verified_at=None, mfa_until=None):
                raise NotFound("user_unknown", f"there is no user {user!r} in this tenant")
            await people.remove_totp(connection, tenant, user)
            await reservations.remove_of_user(connection, tenant, user)
            await people.end_other_sessions(connection, tenant, user)
            for subject in (f"totp:{user}", f"password:{user}"):
                await people.clear_failures(connection, tenant, subject)
            transaction.record(event(self._clock, caller, tenant, "mfa.reset", f"user:{user}"))

    async def _count(self, caller: Caller, tenant: str, subject: str, action: str) -> None:
        """Count a guess before it is looked at; success takes the count back.

        Raises:
            TooMany: not yet

        """
        now = self._clock.now()
        async with self._database.transaction() as transaction:
            failures, retry_at = await people.failures(transaction.connection, tenant, subject)
            if now < retry_at:
                transaction.record(event(self._clock, caller, tenant, action, subject, "too_many_failures"))
            else:
                failures += 1
                wait = wait_after(failures)
                until = LOCKED_UNTIL if failures >= LOCKED_FAILURES else now + wait if wait else 0
                await people.save_failures(transaction.connection, tenant, subject, failures, until)
        if now < retry_at:
            if retry_at == LOCKED_UNTIL:
                raise TooMany("factor_locked", "locked after too many failures; an admin must reset it")
            raise TooMany(
                "too_many_failures",
                f"too many failures; try again in {retry_at - now} seconds",
                retry_after=retry_at - now,
            )


def _seed_name(tenant: str, user: str) -> str:
    return f"totp:{tenant}:{user}"
