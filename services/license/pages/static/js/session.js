// Who is signed in, and what that person may do.

import { call, useToken } from "./api.js";

let session = null;

function keep(given) {
  session = given;
  useToken(given?.csrf ?? "");
  return given;
}

export const current = () => session;

/** Ask the server who we are; null: nobody. */
export async function load() {
  try {
    return keep(await call("GET", "/session", { gate: true }));
  } catch (error) {
    if (error.status !== 401) throw error;
    return keep(null);
  }
}

/** `needed`: there is no user yet; `reset_pending`: a user has a code for a new password. */
export function setUpState() {
  return call("GET", "/setup", { gate: true });
}

export async function setUp(code, user, password) {
  return keep(await call("POST", "/setup", { json: { code, user, password }, gate: true }));
}

export async function signIn(user, password) {
  return keep(await call("POST", "/session", { json: { user, password }, gate: true }));
}

export async function signOut() {
  try {
    await call("DELETE", "/session", { gate: true });
  } catch (error) {
    if (error.status !== 401) throw error;
  }
  keep(null);
}

export function forget() {
  keep(null);
}

export const isAdministrator = () => session?.role === "administrator";
export const mayChangeLicenses = () => isAdministrator() || session?.role === "product-admin";
