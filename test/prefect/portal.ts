/** What is not Prefect's own answer decides nothing, at any call: every status with every body that a network in between sends. */
import t from 'tap'
import type { CloudApi, CloudTarget } from '../../src/prefect/cloud.js'
import { createTestCloud, failureOf, TEST_USER_ID, target } from '../fixtures/cloud-client.js'
import { type Behaviour, startServer } from '../fixtures/cloud-server.js'

const STATUSES = [
  200, 201, 202, 204, 301, 302, 307, 400, 401, 402, 403, 404, 405, 407, 409, 410, 418, 451, 511,
]

const BODIES: readonly (readonly [name: string, type: string | undefined, text: string])[] = [
  ['a web page', 'text/html; charset=utf-8', '<!doctype html><title>Wi-Fi</title>'],
  ['a web page that claims to be JSON', 'application/json', '<html><body>sign in</body></html>'],
  ['nothing', undefined, ''],
  ['nothing, as JSON', 'application/json', ''],
  ['text', 'text/plain', 'blocked by policy'],
  ['JSON of somebody else', 'application/json', '{"error":"blocked","code":401}'],
  ['a JSON text', 'application/json', '"no"'],
  ["Prefect's words as a page", 'text/html', '{"detail":"Invalid authentication credentials"}'],
  ["Prefect's words without a type", undefined, '{"detail":"Invalid authentication credentials"}'],
]

const CALLS: Readonly<Record<string, (cloud: CloudApi, at: CloudTarget) => Promise<unknown>>> = {
  me: (cloud, at) => cloud.me(at),
  workspaces: (cloud, at) => cloud.workspaces(at),
  createKey: (cloud, at) => cloud.createKey(at, TEST_USER_ID, { name: 'a' }),
  readKey: (cloud, at) => cloud.readKey(at, TEST_USER_ID, 'key-1'),
  listKeys: (cloud, at) => cloud.listKeys(at, TEST_USER_ID),
  deleteKey: (cloud, at) => cloud.deleteKey(at, TEST_USER_ID, 'key-1'),
}

/** Codes that say nothing about the key, nor about what was asked. */
const UNDECIDED = ['prefect_unexpected', 'prefect_failed']

for (const [name, call] of Object.entries(CALLS)) {
  t.test(`${name}: nobody else speaks for Prefect`, async (t) => {
    const dates: number[] = []
    let behave: Behaviour = (response) => response.end()
    const server = await startServer((...more) => behave(...more))
    const cloud = createTestCloud({ onServerDate: (_url, serverAt) => dates.push(serverAt) })
    t.teardown(async () => Promise.all([cloud.close(), server.close()]))
    for (const status of STATUSES) {
      for (const [body, type, text] of BODIES) {
        // The one answer without a body that is Prefect's own.
        if (name === 'deleteKey' && status === 204) continue
        behave = (response) => {
          const headers = type === undefined ? {} : { 'content-type': type }
          response.writeHead(status, { ...headers, date: 'Mon, 01 Jan 2035 00:00:00 GMT' })
          response.end(status === 204 ? undefined : text)
        }
        const error = await failureOf(call(cloud, target(server.port)))
        t.ok(UNDECIDED.includes(error.code), `${status} and ${body}: ${error.code}`)
      }
    }
    t.strictSame(dates, [], 'and nobody else tells the time')
  })
}

t.test("Prefect's own answers are believed, and so is their date", async (t) => {
  const dates: string[] = []
  let answer: readonly [status: number, text: string] = [200, '[]']
  const server = await startServer((response) => {
    const [status, text] = answer
    response.writeHead(status, {
      'content-type': 'application/json; charset=utf-8',
      date: 'Thu, 01 Jan 2026 00:00:00 GMT',
    })
    response.end(text)
  })
  const cloud = createTestCloud({ onServerDate: (url) => dates.push(url) })
  t.teardown(async () => Promise.all([cloud.close(), server.close()]))
  const at = target(server.port)
  await cloud.workspaces(at)
  answer = [401, '{"detail":"Invalid authentication credentials"}']
  t.equal((await failureOf(cloud.workspaces(at))).code, 'key_rejected')
  answer = [404, '{"detail":"Not Found"}']
  t.equal(await cloud.readKey(at, TEST_USER_ID, 'key-1'), undefined)
  t.equal(await cloud.listKeys(at, TEST_USER_ID), undefined)
  t.equal(await cloud.deleteKey(at, TEST_USER_ID, 'key-1'), 'already_gone')
  t.strictSame(new Set(dates), new Set([`http://127.0.0.1:${server.port}`]), 'of this origin')
  t.equal(dates.length, 5)
})
