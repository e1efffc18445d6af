/** Events as API Gateway and SQS send them (AWS Lambda developer guide), with what the functions read of them. */

const headers = { host: 'abc123.execute-api.eu-central-1.amazonaws.com', accept: '*/*' }

/** A body of bytes comes as base64, one of text as it is. */
const bodyOf = (body: Buffer | string | undefined) => ({
  body: body === undefined ? null : typeof body === 'string' ? body : body.toString('base64'),
  isBase64Encoded: body instanceof Buffer,
})

/** API Gateway's REST API, payload 1.0, with the resources of infrastructure/modules/image-analyzer/api.tf. */
export const restEvent = (httpMethod: string, path: string, type?: string, body?: Buffer | string) => {
  const sent = { ...headers, ...(type === undefined ? {} : { 'content-type': type }) }
  const resource = path === '/' || path === '/health' ? path : '/{proxy+}'
  return {
    resource,
    path,
    httpMethod,
    headers: sent,
    multiValueHeaders: Object.fromEntries(Object.entries(sent).map(([name, value]) => [name, [value]])),
    queryStringParameters: null,
    multiValueQueryStringParameters: null,
    // Without the slash at the end of a path.
    pathParameters: resource === path ? null : { proxy: path.slice(1).replace(/\/$/, '') },
    stageVariables: null,
    requestContext: {
      accountId: '123456789012',
      apiId: 'abc123',
      domainName: headers.host,
      httpMethod,
      identity: { sourceIp: '192.0.2.1', userAgent: 'curl/8.0' },
      path: `/v1${path}`,
      protocol: 'HTTP/1.1',
      requestId: 'c6af9ac6-7b61-11e6-9a41-93e8deadbeef',
      requestTimeEpoch: 1_763_856_000_000,
      resourcePath: resource,
      stage: 'v1',
    },
    ...bodyOf(body),
  }
}

/** API Gateway's HTTP API, payload 2.0: a stage with a name is part of the path. */
export const httpEvent = (
  method: string,
  path: string,
  type?: string,
  body?: Buffer | string,
  stage = 'v1',
) => {
  const rawPath = stage === '$default' ? path : `/${stage}${path}`
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath,
    rawQueryString: '',
    headers: { ...headers, ...(type === undefined ? {} : { 'content-type': type }) },
    requestContext: {
      accountId: '123456789012',
      apiId: 'abc123',
      domainName: headers.host,
      domainPrefix: 'abc123',
      http: { method, path: rawPath, protocol: 'HTTP/1.1', sourceIp: '192.0.2.1', userAgent: 'curl/8.0' },
      requestId: 'JKJaXmPLvHcESHA=',
      routeKey: '$default',
      stage,
      time: '23/Nov/2025:00:00:00 +0000',
      timeEpoch: 1_763_856_000_000,
    },
    ...(body === undefined ? { isBase64Encoded: false } : bodyOf(body)),
  }
}

/** An Application Load Balancer's, with `lambda.multi_value_headers.enabled` (its user guide, "Lambda functions as targets"). */
export const balancerEvent = (httpMethod: string, path: string, type?: string, body?: Buffer | string) => {
  const sent = { ...headers, ...(type === undefined ? {} : { 'content-type': type }) }
  return {
    requestContext: {
      elb: { targetGroupArn: 'arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/api/1' },
    },
    httpMethod,
    path,
    multiValueQueryStringParameters: {},
    multiValueHeaders: Object.fromEntries(Object.entries(sent).map(([name, value]) => [name, [value]])),
    ...bodyOf(body),
    // An empty text, where there is none.
    ...(body === undefined ? { body: '' } : {}),
  }
}

export const sqsEvent = (...bodies: string[]) => ({
  Records: bodies.map((body, index) => ({
    messageId: `059f36b4-87a3-44ab-83d2-66197${String(index).padStart(7, '0')}`,
    receiptHandle: `receipt-${index}`,
    body,
    attributes: {
      ApproximateReceiveCount: '1',
      SentTimestamp: '1763856000000',
      SenderId: 'AIDAIENQZJOLO23YVJ4VO',
      ApproximateFirstReceiveTimestamp: '1763856000100',
    },
    messageAttributes: {},
    md5OfBody: '',
    eventSource: 'aws:sqs',
    eventSourceARN: 'arn:aws:sqs:eu-central-1:123456789012:image-analyzer-jobs',
    awsRegion: 'eu-central-1',
  })),
})
