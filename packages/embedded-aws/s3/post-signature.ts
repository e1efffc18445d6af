import { createHmac } from 'node:crypto'
import { type Credentials, isSame, signText } from '../signature-v4.ts'
import { invalidArgument, S3Error, unknownKey } from './errors.ts'

/** The value of a field by its lower-case name. */
type Fields = (name: string) => string | undefined

const V4_FIELDS = ['X-Amz-Algorithm', 'X-Amz-Credential', 'X-Amz-Date', 'X-Amz-Signature']
const V2_FIELDS = ['AWSAccessKeyId', 'Signature']

/**
 * Who signed a form: developer guide, "Authenticating requests in browser-based uploads using POST" for AWS Signature
 * Version 4, and "Browser-based uploads using POST (AWS signature version 2)" for the older one, which the AWS SDK for
 * Python still uses by default.
 *
 * @param known whose signatures can be computed here
 * @param anyone whether forms of other signers pass unverified, as all requests of programs do; their policy holds too
 * @returns the signed policy, which is the base64 that stands in the form
 * @throws S3Error with the refusal
 */
export function verifyForm(field: Fields, known: readonly Credentials[], anyone: boolean): string {
  const policy = field('policy')
  const scheme = [V4_FIELDS, V2_FIELDS].find((names) =>
    names.some((name) => field(name.toLowerCase()) !== undefined),
  )
  // Without a policy or a signature the request is anonymous, and no bucket here is public.
  if (policy === undefined || scheme === undefined) throw new S3Error('AccessDenied', 'Access Denied', 403)
  for (const name of scheme)
    if (field(name.toLowerCase()) === undefined)
      throw invalidArgument(
        `Bucket POST must contain a field named '${name}'.  If it is specified, please check the order of the fields.`,
        name,
        '',
      )
  const { accessKeyId, provided, compute } = scheme === V4_FIELDS ? version4(field) : version2(field)
  const signer = known.find((credentials) => credentials.accessKeyId === accessKeyId)
  if (signer === undefined && !anyone) throw unknownKey(accessKeyId)
  if (signer === undefined || isSame(compute(policy, signer.secretAccessKey), provided)) return policy
  const bytes = [...Buffer.from(policy)].map((byte) => byte.toString(16).padStart(2, '0'))
  throw new S3Error(
    'SignatureDoesNotMatch',
    'The request signature we calculated does not match the signature you provided. Check your key and signing method.',
    403,
    {
      AWSAccessKeyId: accessKeyId,
      StringToSign: policy,
      SignatureProvided: provided,
      StringToSignBytes: bytes.join(' '),
    },
  )
}

interface Signature {
  accessKeyId: string
  provided: string
  compute: (policy: string, secret: string) => string
}

function version4(field: Fields): Signature {
  const algorithm = field('x-amz-algorithm') ?? ''
  if (algorithm !== 'AWS4-HMAC-SHA256')
    throw invalidArgument('X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"', 'X-Amz-Algorithm', algorithm)
  const date = field('x-amz-date') ?? ''
  if (!/^\d{8}T\d{6}Z$/.test(date))
    // "formated" is how S3 writes it.
    throw invalidArgument('X-Amz-Date must be formated via ISO8601 Long format', 'X-Amz-Date', date)
  const credential = field('x-amz-credential') ?? ''
  const [, accessKeyId, day, region] = /^([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request$/.exec(credential) ?? []
  if (accessKeyId === undefined || day === undefined || region === undefined)
    throw invalidArgument(
      'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
      'X-Amz-Credential',
      credential,
    )
  const compute = (policy: string, secret: string) => signText(policy, secret, { day, region, service: 's3' })
  return { accessKeyId, provided: field('x-amz-signature') ?? '', compute }
}

const version2 = (field: Fields): Signature => ({
  accessKeyId: field('awsaccesskeyid') ?? '',
  provided: field('signature') ?? '',
  compute: (policy, secret) => createHmac('sha1', secret).update(policy).digest('base64'),
})
