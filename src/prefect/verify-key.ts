/** Asks Prefect whose key it is and what it reaches: only then is it more than a piece of text. */

import { BrokerError } from '../base/errors.js'
import { type CloudApi, type CloudTarget, keyClass, type Owner, type Workspace } from './cloud.js'

export interface KeyFindings {
  readonly owner: Owner
  readonly workspaces: readonly Workspace[]
}

/**
 * Who owns the key, and its workspaces. Rejects as `CloudApi` does (`key_rejected`, …), and with `workspace_none` for a
 * service account without workspaces: its account is known by nothing else.
 */
export async function verifyKey(cloud: CloudApi, target: CloudTarget): Promise<KeyFindings> {
  // A service account has no /me/: Prefect answers 403 there.
  if (keyClass(target.key) === 'service_account') {
    const workspaces = await cloud.workspaces(target)
    return { owner: serviceAccount(workspaces), workspaces }
  }
  // One after the other: junk costs one request.
  const { id, handle, email } = await cloud.me(target)
  const workspaces = await cloud.workspaces(target)
  return { owner: { kind: 'user', id, handle, ...(email === undefined ? {} : { email }) }, workspaces }
}

function serviceAccount([first]: readonly Workspace[]): Owner {
  if (first) return { kind: 'service_account', id: first.accountId, handle: first.accountHandle }
  throw new BrokerError('workspace_none', 'the key of a service account works, but reaches no workspace', {
    hint: 'give the service account a role in a workspace, in the Prefect UI',
  })
}
