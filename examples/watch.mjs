// Prints a profile's generation whenever its credentials change: ETag and `Prefer: wait`, no polling.
import { execFileSync } from 'node:child_process'
import { request } from 'node:http'

const socketPath = execFileSync('prefect-auth', ['status', '--socket'], { encoding: 'utf8' }).trim()

function get(etag) {
  const headers = { host: 'authd', ...(etag ? { 'if-none-match': etag, prefer: 'wait=60' } : {}) }
  return new Promise((resolve, reject) => {
    const req = request({ socketPath, path: '/v1/credentials', headers }, (answer) => {
      let body = ''
      answer.setEncoding('utf8').on('data', (text) => {
        body += text
      })
      answer.on('end', () => resolve({ status: answer.statusCode, etag: answer.headers.etag, body }))
    })
    req.on('error', reject).end()
  })
}

let etag
for (;;) {
  const answer = await get(etag)
  if (answer.status === 200) {
    const { profile, generation, key } = JSON.parse(answer.body)
    process.stdout.write(`${profile} generation ${generation} ${key?.fingerprint ?? 'without a key'}\n`)
  } else if (answer.status !== 304) {
    process.stderr.write(`${answer.body}\n`)
    await new Promise((resolve) => setTimeout(resolve, 5000))
  }
  etag = answer.etag ?? etag
}
