/** Files that the daemon keeps up to date: added, listed and removed by the owner only. */

import type { KeptFile } from '../files/files.js'
import type { ApiServer } from '../http/schema.js'
import { defined } from '../std/defined.js'
import {
  addFileBody,
  type FileView,
  fileList,
  fileView,
  removeFileAnswer,
  removeFileQuery,
} from '../wire/files.js'
import type { RouteContext } from './context.js'
import { renderTime } from './view.js'

export function fileRoutes(api: ApiServer, { files }: RouteContext): void {
  api.get(
    '/v1/files',
    {
      config: { needs: 'admin', summary: 'Files that are kept up to date' },
      schema: { response: { 200: fileList } },
    },
    async (_request, reply) => reply.send({ files: files.list().map(renderKeptFile) }),
  )
  api.post(
    '/v1/files',
    {
      config: { needs: 'admin', summary: 'Keep a file with the key, or with variables, up to date' },
      schema: { body: addFileBody, response: { 201: fileView } },
    },
    async (request, reply) => {
      const { path, what, profile, replace: isReplacing = false } = request.body
      const added = await files.add({ path, what, isReplacing, ...defined({ profile }) })
      return reply.code(201).send(renderKeptFile(added))
    },
  )
  api.delete(
    '/v1/files',
    {
      config: { needs: 'admin', summary: 'Keep a file no longer, and remove it' },
      schema: { querystring: removeFileQuery, response: { 200: removeFileAnswer } },
    },
    async (request, reply) => {
      const { path, isRemoved } = await files.remove(request.query.path)
      return reply.send({ path, removed: isRemoved })
    },
  )
}

export function renderKeptFile({ path, what, profile, addedAt, state, problem }: KeptFile): FileView {
  return {
    ...{ path, what, added_at: renderTime(addedAt), state },
    ...defined({ profile, problem: problem?.message, code: problem?.code, hint: problem?.hint }),
  }
}
