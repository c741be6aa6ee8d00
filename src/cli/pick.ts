/** Chooses one of many with the arrow keys; long lists narrow as one types. */
import type { Option } from '@clack/prompts'
import { failed } from '../client/failure.js'
import type { WorkspaceView } from '../wire/profile.js'
import type { Session } from './context.js'
import { printable } from './printable.js'

const SHORT_LIST = 8

/** The handle of the workspace chosen. Fails with `cancelled` at Ctrl-C or Escape. */
export async function pickWorkspace(
  { terminal }: Session,
  workspaces: readonly WorkspaceView[],
): Promise<WorkspaceView> {
  // Loaded when somebody has to choose: start-up is the cost of every other command.
  const { autocomplete, isCancel, select } = await import('@clack/prompts')
  // Serial lines and some containers say 0: each letter would get a line of its own.
  if (terminal.stderr.columns === 0) terminal.stderr.columns = 80
  const options: Option<string>[] = workspaces.map((workspace) => ({
    value: workspace.workspace_id,
    label: printable(workspace.handle),
    ...(workspace.current ? { hint: 'now' } : {}),
  }))
  const current = workspaces.find(({ current }) => current)?.workspace_id
  const common = {
    message: 'Workspace',
    options,
    input: terminal.stdin,
    output: terminal.stderr,
    ...(current === undefined ? {} : { initialValue: current }),
  }
  const chosen = await (options.length <= SHORT_LIST
    ? select(common)
    : // By name alone: the default filter looks into the ids too, where any digit stands.
      autocomplete({
        ...common,
        maxItems: 10,
        placeholder: 'type to search',
        filter: (search, { label = '' }) => label.toLowerCase().includes(search.toLowerCase()),
      }))
  const workspace = isCancel(chosen) ? undefined : workspaces.find((one) => one.workspace_id === chosen)
  if (workspace === undefined) throw failed({ code: 'cancelled', kind: 'cancelled', detail: 'cancelled' })
  return workspace
}
