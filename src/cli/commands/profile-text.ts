/** Pure: profiles as text. */
import type { ProfileList, ProfileView } from '../../wire/profile.js'
import { printable } from '../printable.js'
import { formatFacts, formatTable } from '../table.js'
import { describeWorkspace } from '../text.js'

export function describeProfiles({ profiles, file }: ProfileList): string {
  const table = formatTable(
    ['', 'PROFILE', 'KIND', 'KEY', 'WORKSPACE OR URL'],
    profiles.map((one) => [
      one.active ? '*' : ' ',
      one.name,
      one.kind,
      one.login_required ? 'login required' : secretPlace(one),
      one.workspace === undefined ? (one.api_url ?? '') : describeWorkspace(one.workspace),
    ]),
  )
  const problem =
    file.problem === undefined ? [] : ['', `! ${printable(file.path)}: ${printable(file.problem)}`]
  return [table, ...problem].join('\n')
}

export function describeProfile(view: ProfileView): string {
  const lines = [
    `Profile ${printable(view.name)}${view.active ? ' (active)' : ''}`,
    '',
    formatFacts([
      ['because', printable(view.because)],
      ['source', view.source === 'bundled' ? 'bundled with Prefect' : 'profiles.toml'],
      ['kind', view.kind],
      ['api', view.api_url === undefined ? undefined : printable(view.api_url)],
      ['workspace', view.workspace === undefined ? undefined : describeWorkspace(view.workspace)],
      ['key', view.login_required ? 'none: login required' : placeOf(view.key)],
      ['auth string', placeOf(view.auth_string)],
    ]),
  ]
  const settings = Object.entries(view.settings)
  if (settings.length > 0) {
    lines.push(
      '',
      'In profiles.toml:',
      formatFacts(settings.map(([name, value]) => [printable(name), printable(value)])),
    )
  }
  for (const warning of view.warnings) lines.push(`! ${printable(warning)}`)
  return lines.join('\n')
}

function secretPlace({ key, auth_string }: ProfileView): string {
  return placeOf(key) ?? placeOf(auth_string) ?? ''
}

function placeOf(place: ProfileView['key']): string | undefined {
  switch (place) {
    case 'vault':
      return 'in the vault'
    case 'file':
      return 'plain text in the file'
    case 'none':
      return undefined
  }
}
