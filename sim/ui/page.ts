/** The page at `/auth/client`: replaces Prefect's own, which is closed source. */

/** The parameters of a request to `/auth/client`. */
export interface LoginRequest {
  /** Where to deliver, without a trailing slash. */
  readonly callback: string
  /** `g=true`: by a top-level GET with `?key=` (research/prefect.md 1.5), else by POST (1.3). */
  readonly byGet: boolean
}

/**
 * Two buttons and a script. The key is fetched when the user agrees and is only ever in memory: a page that contained it would
 * leave it in the browser's cache, and the test that searches the cache could never pass (research/browser.md 4, 9).
 */
export function loginPage(login: LoginRequest & { readonly owner: string; readonly auto: boolean }): string {
  return PAGE.replace('__LOGIN__', () => JSON.stringify(login).replaceAll('<', '\\u003c'))
}

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<title>Authorize Prefect client</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 30rem; margin: 15vh auto; padding: 0 1rem; color: #1c2333 }
  button { font: inherit; padding: .5rem 1.25rem; margin-right: .5rem; border-radius: .4rem; border: 1px solid #2b5fd9;
    background: #fff; color: #2b5fd9; cursor: pointer }
  #authorize { background: #2b5fd9; color: #fff }
  small { color: #667 }
</style>
</head>
<body>
<h1>Authorize Prefect client</h1>
<p>You are signed in as <strong id="owner"></strong>. A program on this computer asks for an API key.</p>
<p><button id="authorize">Authorize</button><button id="cancel">Cancel</button></p>
<p id="outcome" role="status"></p>
<p><small>This is the Prefect Cloud simulator of prefect-auth-broker, not Prefect Cloud.</small></p>
<script type="application/json" id="login">__LOGIN__</script>
<script>
const login = JSON.parse(document.getElementById('login').textContent)
const say = (text) => { document.getElementById('outcome').textContent = text }
document.getElementById('owner').textContent = login.owner

const post = (url, value) => fetch(url, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(value),
})

async function authorize() {
  say('Authorizing …')
  const { api_key } = await (await post('/auth/client/key', {})).json()
  if (login.byGet) {
    location.href = login.callback + '?key=' + encodeURIComponent(api_key)
    say('Authorized. You may close this window.')
    return
  }
  try {
    const answer = await post(login.callback + '/success', { api_key })
    say(answer.ok ? 'Authorized. You may close this window.' : 'The program refused the key: ' + answer.status)
  } catch (error) {
    say('The program could not be reached: ' + error.message)
  }
}

async function cancel() {
  try {
    await post(login.callback + '/failure', { reason: 'Cancelled by the user' })
    say('Cancelled.')
  } catch (error) {
    say('Cancelled; the program could not be told: ' + error.message)
  }
}

document.getElementById('authorize').addEventListener('click', () => authorize())
document.getElementById('cancel').addEventListener('click', () => cancel())
if (login.auto) authorize()
</script>
</body>
</html>
`
