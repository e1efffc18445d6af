import { sendXml } from '../errors.ts'
import type { Operation } from '../operation.ts'

export const getBucketLocation: Operation = (_context, { response }) =>
  sendXml(response, 200, '<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>')
