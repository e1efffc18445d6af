import type { ServerResponse } from 'node:http'
import type { AwsError } from './json.ts'
import { newRequestId } from './s3/state.ts'
import { xml } from './s3/xml.ts'

export const inNamespace = (document: string, xmlns: string): string =>
  document.replace('>', ` xmlns="${xmlns}">`)

/** An error as AWS's Query protocol carries it. */
export function sendQueryError(error: AwsError, response: ServerResponse, xmlns = ''): void {
  const { name, message, status } = error
  const type = status < 500 ? 'Sender' : 'Receiver'
  const document = xml('ErrorResponse', [
    xml('Error', [xml('Type', type), xml('Code', name), xml('Message', message), xml('Detail', '')]),
    xml('RequestId', newRequestId()),
  ])
  // What of a refused body is still on its way is read and dropped.
  response.req.resume()
  response.writeHead(status, { 'content-type': 'text/xml' })
  response.end(xmlns === '' ? document : inNamespace(document, xmlns))
}
