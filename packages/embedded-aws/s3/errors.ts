import type { ServerResponse } from 'node:http'
import { MAX_OBJECT_BYTES } from '../storage.ts'
import { xml } from './xml.ts'

/** A refusal as S3 writes it: an XML document with elements of its own for some codes. */
export class S3Error extends Error {
  readonly code: string
  readonly status: number
  readonly details: Record<string, string | number>
  constructor(code: string, message: string, status = 400, details: Record<string, string | number> = {}) {
    super(message)
    this.code = code
    this.status = status
    this.details = details
  }
}

export const noSuchBucket = (BucketName: string): S3Error =>
  new S3Error('NoSuchBucket', 'The specified bucket does not exist', 404, { BucketName })
export const noSuchUpload = (UploadId: string): S3Error =>
  new S3Error(
    'NoSuchUpload',
    'The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.',
    404,
    { UploadId },
  )
export const preconditionFailed = (details: Record<string, string> = {}): S3Error =>
  new S3Error(
    'PreconditionFailed',
    'At least one of the pre-conditions you specified did not hold',
    412,
    details,
  )
export const tooLarge = (ProposedSize: number, MaxSizeAllowed = MAX_OBJECT_BYTES): S3Error =>
  new S3Error('EntityTooLarge', 'Your proposed upload exceeds the maximum allowed size', 400, {
    ProposedSize,
    MaxSizeAllowed,
  })
export const methodNotAllowed = (): S3Error =>
  new S3Error('MethodNotAllowed', 'The specified method is not allowed against this resource.', 405)
export const malformedXml = (): S3Error =>
  new S3Error(
    'MalformedXML',
    'The XML you provided was not well-formed or did not validate against our published schema',
  )
export const notImplemented = (what: string): S3Error =>
  new S3Error('NotImplemented', `The embedded S3 has no ${what}.`, 501)
export const unknownKey = (AWSAccessKeyId: string): S3Error =>
  new S3Error(
    'InvalidAccessKeyId',
    'The AWS Access Key Id you provided does not exist in our records.',
    403,
    { AWSAccessKeyId },
  )
export const invalidArgument = (message: string, ArgumentName: string, ArgumentValue: string): S3Error =>
  new S3Error('InvalidArgument', message, 400, { ArgumentName, ArgumentValue })

const XMLNS = 'http://s3.amazonaws.com/doc/2006-03-01/'

/** A document of S3's, whose root carries S3's namespace. */
export const s3Document = (root: string, content: string[]): string =>
  `<?xml version="1.0" encoding="UTF-8"?>\n${xml(root, content).replace(`<${root}>`, `<${root} xmlns="${XMLNS}">`)}`

export function sendXml(response: ServerResponse, status: number, document: string): void {
  response.writeHead(status, { 'content-type': 'application/xml' })
  response.end(document)
}

export const errorDocument = (error: S3Error, requestId: string): string =>
  `<?xml version="1.0" encoding="UTF-8"?>\n${xml('Error', [
    xml('Code', error.code),
    xml('Message', error.message),
    ...Object.entries(error.details).map(([name, value]) => xml(name, value)),
    xml('RequestId', requestId),
    xml('HostId', requestId),
  ])}`

/** @param requestId what the answer's header and its body both name */
export function sendS3Error(response: ServerResponse, error: S3Error, requestId: string): void {
  // What of a refused body is still on its way is read and dropped: few clients look for an answer before its end.
  response.req.resume()
  response.setHeader('x-amz-request-id', requestId)
  response.setHeader('x-amz-id-2', requestId)
  sendXml(response, error.status, errorDocument(error, requestId))
}
