/** A debugger port of this process: through it any user of the machine could read every key. */
import inspector from 'node:inspector'

/** Why this process must not start; `undefined` if no debugger can be attached. */
export function findDebugger({
  execArgv,
  env,
}: {
  readonly execArgv: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
}): { readonly message: string; readonly hint: string } | undefined {
  const url = inspector.url()
  if (url === undefined) return undefined
  const message = `cannot start with a debugger port: through ${url.replace(/\/[^/]*$/, '')} other users of this machine could read every key`
  const inOptions = /--inspect/.test(env.NODE_OPTIONS ?? '')
  if (inOptions && env.INVOCATION_ID !== undefined) {
    return {
      message,
      hint: 'systemctl --user unset-environment NODE_OPTIONS      (then: systemctl --user restart prefect-authd)',
    }
  }
  if (execArgv.some((flag) => flag.startsWith('--inspect')))
    return { message, hint: 'prefect-authd      (without --inspect)' }
  return { message, hint: 'env -u NODE_OPTIONS prefect-authd' }
}

/** Closes a debugger port that was opened later, as by SIGUSR1 while the program was still loading. Returns true if there was one. */
export function closeDebugger(): boolean {
  if (inspector.url() === undefined) return false
  inspector.close()
  return true
}
